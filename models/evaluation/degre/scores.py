"""What planners' lists are worth: every finished run valued by every finished valuer, all lists in one pass each.

Axis letters: R requests, P runs, L positions, M objective mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.evaluation.degre.arrays import save_array
from models.evaluation.degre.hit_rate import permutations_of
from models.evaluation.degre.judges import mix_values
from models.evaluation.degre.planners_table import Planner
from models.evaluation.degre.steps import is_done
from models.evaluation.degre.workspace import (
    LISTS_FILE,
    Workspace,
    chunks,
    comparison_step,
    planner_step,
)

_REQUESTS: Final = 64
_SETS: Final = "sets"
_PERMUTING_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Run:
    """One set of lists: a planner under an objective mix, learnt with a seed."""

    planner: Planner
    mix: int
    seed: int

    @property
    def step(self) -> str:
        """The name of its step."""
        return planner_step(self.planner.name, self.mix, self.seed)


def finished(root: Path, runs: Sequence[Run]) -> list[Run]:
    """Those of `runs` whose lists are there."""
    return [run for run in runs if is_done(root, run.step)]


def valued(root: Path, runs: Sequence[Run], members: Sequence[str]) -> list[Run]:
    """Those of `runs` that are finished and whose values under all of `members` are there.

    A run that another process finished after `score` looked is not among them: it is left to the next report.
    """
    return [run for run in finished(root, runs) if all(_is_current(root, run, name) for name in members)]


def with_sets(root: Path, runs: Sequence[Run], members: Sequence[str]) -> list[Run]:
    """Those of `valued` whose sets have been valued too."""
    return [run for run in valued(root, runs, members) if all(_is_current(root, run, n, _SETS) for n in members)]


def finished_valuers(space: Workspace) -> list[str]:
    """The members of judges whose comparison values are there."""
    names = dict.fromkeys(member for judge in space.judges for member in judge.members)
    return [name for name in names if is_done(space.root, comparison_step(name))]


def score(space: Workspace, runs: Sequence[Run]) -> None:
    """Value all `runs`, which must be finished, under all finished valuers; what is there already is kept."""
    for name in finished_valuers(space):
        waiting = [run for run in runs if not _is_current(space.root, run, name)]
        if waiting:
            _score(space, name, waiting)


def score_sets(space: Workspace, runs: Sequence[Run]) -> None:
    """Value random permutations of the lists of some requests under all finished valuers, keeping their mean.

    It is what a list's *set* is worth, whatever its order; `runs` must be finished.
    """
    requests = min(space.profile.order_requests, len(space.test))
    for name in finished_valuers(space):
        waiting = [run for run in runs if not _is_current(space.root, run, name, _SETS)]
        valuer = space.valuer(name) if waiting else None
        for run in waiting:
            assert valuer is not None
            lists = np.load(space.root / run.step / LISTS_FILE)[:requests]
            rows = np.arange(len(lists))
            orders = permutations_of(lists, rows.tolist(), space.profile.order_permutations, seed=_PERMUTING_SEED)
            values = mix_values(valuer.outcomes(rows, orders), space.mixes, space.data.units)[run.mix]
            save_array(_path(space.root, run, name, _SETS), values.mean(axis=1))


def load_sets(root: Path, run: Run, members: Sequence[str]) -> NDArray[np.float64]:
    """What the sets of a run's lists are worth in random order, [R'], R' ≤ R: the mean over valuers."""
    values: NDArray[np.float64] = np.mean([np.load(_path(root, run, name, _SETS)) for name in members], axis=0)
    return values


def load_values(root: Path, run: Run, members: Sequence[str]) -> NDArray[np.float64]:
    """The values [R] of a run's lists: the mean over valuers. A planner of some requests only has that many."""
    values: NDArray[np.float64] = np.mean([np.load(_path(root, run, name)) for name in members], axis=0)
    return values


def _score(space: Workspace, name: str, runs: Sequence[Run]) -> None:
    lists = [np.load(space.root / run.step / LISTS_FILE) for run in runs]
    stacked = np.full((len(space.test), len(runs), space.profile.length), -1, np.int64)
    for column, some in enumerate(lists):
        stacked[: len(some), column] = some
    valuer = space.valuer(name)
    parts = [
        valuer.outcomes(rows, stacked[rows])
        for rows in tqdm(list(chunks(len(stacked), _REQUESTS)), desc=f"value lists, {name}", disable=None)
    ]
    values = mix_values(np.concatenate(parts), space.mixes, space.data.units)  # [M, R, P]
    for column, (run, some) in enumerate(zip(runs, lists, strict=True)):
        save_array(_path(space.root, run, name), values[run.mix, : len(some), column])


def _is_current(root: Path, run: Run, valuer: str, what: str = "values") -> bool:
    """Whether a run's lists have been valued since they were last written."""
    path = _path(root, run, valuer, what)
    return path.is_file() and path.stat().st_mtime_ns >= (root / run.step / LISTS_FILE).stat().st_mtime_ns


def _path(root: Path, run: Run, valuer: str, what: str = "values") -> Path:
    return root / run.step / f"{what}-{valuer}.npy"
