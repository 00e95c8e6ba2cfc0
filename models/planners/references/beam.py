"""Search objective queues by beam in plain code: slow, obviously right.

As `sort_gen.plan_queues`, but with W lists at once. Tests and `export/proof/verify.py` hold `graphs/beams.py` to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.planners.references.sort_gen import PlanStep, Scorer, queue_heads
from models.planners.references.step_rules import StepRules

_MOST_REACHED: Final = 8
"""Lists that are followed among ties, for each that a beam keeps; more would be twins of twins."""


@dataclass(frozen=True, slots=True)
class _List:
    """Hold a list so far: its steps, and its total score."""

    steps: list[PlanStep]
    total: float

    @property
    def slots(self) -> tuple[int, ...]:
        """List the slots of its items, in order."""
        return tuple(step.slot for step in self.steps)


def plan_beam(
    scorer: Scorer,
    queues: Sequence[Sequence[int]],
    *,
    length: int,
    head_width: int = 1,
    beam_width: int,
    rules: StepRules | None = None,
) -> tuple[list[PlanStep], float]:
    """Find the best list of a beam by the sum of its MMR scores.

    Arguments as in `sort_gen.plan_queues`; under `rules` a list that cannot go on loses to all that can. A step's
    rivals are what else was proposed for the same list; its margin is infinite, since no single step decides. The
    second result is the least lead that a list that was kept had over one that was cut, at any step or at the end;
    infinite if nothing was cut.
    """
    lists = [_List([], 0.0)]
    cut = math.inf
    for t in range(length):
        longer = [new for old in lists for new in _continuations(old, scorer, queues, head_width, rules)]
        if not longer:
            break
        ranked = sorted(longer, key=lambda new: -new.total)  # stable: ties go to the better list, then the first queue
        kept = 1 if t + 1 == length else beam_width
        if len(ranked) > kept:
            cut = min(cut, ranked[kept - 1].total - ranked[kept].total)
        lists = ranked[:kept]
    if len(lists) > 1:
        cut = min(cut, lists[0].total - lists[1].total)
    return lists[0].steps, cut


def plan_among_ties(
    scorer: Scorer,
    queues: Sequence[Sequence[int]],
    *,
    length: int,
    head_width: int = 1,
    beam_width: int,
    wanted: Sequence[int],
    margin: float,
    rules: StepRules | None = None,
) -> list[PlanStep] | None:
    """Find the list `wanted` if errors below `margin` might have led to it, else None.

    Twins tie exactly, and which of them a beam keeps decides what it finds later. So every list is followed that some
    breaking of near ties keeps, and it is noted which ones all of them keep. A list is out of reach only where at least
    `beam_width` of those lead it clearly.
    """
    lists = [_Reached(_List([], 0.0), True)]
    for t in range(length):
        longer = [
            _Reached(new, old.always)
            for old in lists
            for new in _continuations(old.list, scorer, queues, head_width, rules)
        ]
        if not longer:
            break
        lists = _reached(longer, 1 if t + 1 == length else beam_width, margin, tuple(wanted[: t + 1]))
    return next((reached.list.steps for reached in lists if reached.list.slots == tuple(wanted)), None)


@dataclass(frozen=True, slots=True)
class _Reached:
    """Hold a list that some order of near ties keeps; `always` if all do."""

    list: _List
    always: bool


def _reached(longer: list[_Reached], kept: int, margin: float, wanted: tuple[int, ...]) -> list[_Reached]:
    """Cut the possible lists to those that might be among the `kept`, `wanted` first."""
    totals = np.array([reached.list.total for reached in longer])
    always = np.array([reached.always for reached in longer])
    found = []
    for reached in longer:
        clearly_ahead = int((always & (totals > reached.list.total + margin)).sum())
        perhaps_ahead = int((totals > reached.list.total - margin).sum()) - 1  # less itself
        if clearly_ahead < kept:
            found.append(_Reached(reached.list, reached.always and perhaps_ahead < kept))
    found.sort(key=lambda reached: (reached.list.slots != wanted, -reached.list.total))
    return found[: _MOST_REACHED * kept]


def _continuations(
    old: _List, scorer: Scorer, queues: Sequence[Sequence[int]], head_width: int, rules: StepRules | None
) -> list[_List]:
    """Append each of a list's proposals to it, in the order of queues and ranks."""
    proposals = queue_heads(queues, old.slots, head_width, rules)
    if not proposals:
        return []
    steps = scorer.steps(list(old.slots), proposals, rules)
    return [_List([*old.steps, replace(step, margin=math.inf)], old.total + step.score) for step in steps]
