"""Plan with value models as a service does, by queues and beams of any sizes.

A process builds the graph of a model and of sizes once, and reads a checkpoint once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from models.contract.arrays import Ints
from models.contract.manifest import Partition, QueueSpec
from models.data.records import ListRecord
from models.evaluation.planning import ServedPlanner
from models.evaluation.truth.method import Plan, PlanContext, Setting
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.planners.objective import default_queues
from models.planners.references.sort_gen import Preferences
from models.training.value import CHECKPOINT_FILE

_GRAPHS: Final = 8
_CHECKPOINTS: Final = 4

LearntPlan = Callable[[Checkpoint, PlanContext, Sequence[ListRecord]], Ints]
"""Plan lists [n, m] for records under a value model."""


@dataclass(frozen=True)
class QueueSearch:
    """Say how the graph searches.

    `beam_width` is the profile's for None. Of the default queues the formula's is always there; `queues` says how many
    there are with it, in their order of priority (None: all).
    """

    head_width: int = 2
    beam_width: int | None = 1
    queues: int | None = None
    partition: Partition = "bfs"

    def dealt(self, checkpoint: Checkpoint) -> tuple[QueueSpec, ...]:
        """Define the queues."""
        *objectives, formula = default_queues(checkpoint.spec, checkpoint.units)
        kept = objectives if self.queues is None else objectives[: self.queues - 1]
        return (*kept, formula)


def queue_plan(
    fit: str, search: QueueSearch, *, trade_off: float = 1.0, window: int | None = None, tuned: bool = False
) -> Plan:
    """Make the plan of a method that searches queues under the value model `fit`.

    MMR has the λ `trade_off`, or that of the method's setting if `tuned`; the window is that of the preferences for
    None.
    """

    def plan(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
        chosen = trade_off
        if tuned:
            if not isinstance(setting, int | float):
                raise TypeError(f"λ must be a number, not {setting!r}")
            chosen = float(setting)
        wish = replace(context.preferences, trade_off=chosen)
        return _planner(context, fit, search)(records, wish if window is None else replace(wish, window=window))

    return plan


def learnt_plan(fit: str, search: LearntPlan) -> Plan:
    """Make the plan of a method that searches under the value model `fit` without queues."""

    def plan(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
        del setting  # there is none
        return search(checkpoint_of(context, fit), context, records)

    return plan


def checkpoint_of(context: PlanContext, fit: str) -> Checkpoint:
    """Load a value model that a method needs."""
    return _checkpoint(*_file(context, fit))


def _planner(
    context: PlanContext, fit: str, search: QueueSearch
) -> Callable[[Sequence[ListRecord], Preferences], Ints]:
    width = context.profile.beam if search.beam_width is None else search.beam_width
    return _graph(*_file(context, fit), context.bench.length, replace(search, beam_width=width))


def _file(context: PlanContext, fit: str) -> tuple[Path, int]:
    """Return a fit's checkpoint file and the time of its last change.

    The time tells it from a file that was there before.
    """
    path = context.needs[fit] / CHECKPOINT_FILE
    return path, path.stat().st_mtime_ns


@lru_cache(_CHECKPOINTS)
def _checkpoint(path: Path, changed: int) -> Checkpoint:
    del changed
    return load_checkpoint(path)


@lru_cache(_GRAPHS)
def _graph(path: Path, changed: int, length: int, search: QueueSearch) -> ServedPlanner:
    checkpoint = _checkpoint(path, changed)
    assert search.beam_width is not None
    return ServedPlanner.of(
        checkpoint,
        length,
        head_width=search.head_width,
        beam_width=search.beam_width,
        queues=search.dealt(checkpoint),
        partition=search.partition,
    )
