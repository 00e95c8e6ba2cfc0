"""Compare planners and value models where the truth is known, by lists for many requests.

Every row of the table is a planner under a notion of value, so that one sees what each loses: the planner (the same
search with the true value), the value model (a search of all candidates under the learnt value), and both. `random`
and `optimum` frame them: optimality is (V − V̄ of random lists) / (V* − V̄).

Axis letters: n requests, m places, k lists, S checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import perm
from typing import Final

import numpy as np

from models.baselines.scorers.pointwise import PointwiseModel
from models.contract.arrays import Floats, Ints
from models.data.records import ListRecord
from models.evaluation.planning import (
    ServedPlanner,
    check_candidates,
    formula_sort,
    learnt_beam,
    learnt_exhaustive,
    preparer,
)
from models.nets.checkpoint import Checkpoint
from models.options import Weights
from models.planners.prepare import Preparer
from models.planners.references.sort_gen import Preferences
from models.planners.search.exhaustive import best_list

MOST_LISTS: Final = 2000
"""Searching exhaustively is offered up to this many lists a request: 8 choose and order 4 are 1,680."""

BASELINE: Final = "formula sort, prior scores"
OPTIMUM: Final = "true value, exhaustive"
RANDOM: Final = "random"
RANDOM_LISTS: Final = 100


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """Hold a request as a service sees it, its number of places, and its truth.

    `outcomes` gives the true (clicks, conversions, GMV) of the first 1, 2, … m items of lists [k, m]: [k, m, 3].
    """

    record: ListRecord
    length: int
    outcomes: Callable[[Ints], Floats]

    def values(self, lists: Ints) -> Floats:
        """Compute true (clicks, conversions, GMV) [k, 3] of lists [k, m] of candidate indices."""
        return self.outcomes(lists)[:, -1]


Planner = Callable[[Sequence[SimulatedCase], Preferences], Ints]
"""A planner returns candidate indices [n, m] for n cases of m places."""


@dataclass(frozen=True)
class Searches:
    """Pair every one of `head_widths` with every one of `beam_widths`."""

    head_widths: Sequence[int] = (1,)
    beam_widths: Sequence[int] = (1,)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Return pairs of head width and beam width."""
        return list(product(self.head_widths, self.beam_widths))


def in_units(weights: Weights, checkpoint: Checkpoint) -> Preferences:
    """Make preferences from α, β, γ in a checkpoint's units s_o, at λ = 1."""
    units = checkpoint.units
    return Preferences(weights, (units["click"], units["conversion"], units["gmv"]))


def served_name(head_width: int, beam_width: int) -> str:
    """Name the row of the product's own graph."""
    return f"SORT-Gen, {_sizes(head_width, beam_width)}"


def true_name(head_width: int, beam_width: int) -> str:
    """Name the row of the same search under true values."""
    return f"true value, queues {_sizes(head_width, beam_width)}"


def over_all_name(notion: str, beam_width: int) -> str:
    """Name the search of all candidates under a notion of value."""
    return f"{notion} value, {'greedy' if beam_width == 1 else f'beam {beam_width}'} over all"


def gain_pairs(searches: Searches) -> list[tuple[str, str]]:
    """Pair each learnt row with that of the same search under true values."""
    return [
        *((served_name(*pair), true_name(*pair)) for pair in searches.pairs),
        *((over_all_name("learnt", w), over_all_name("true", w)) for w in searches.beam_widths),
    ]


def known_rows(
    checkpoint: Checkpoint, searches: Searches, pointwise: PointwiseModel | None, lists: int
) -> dict[str, Planner]:
    """List the rows that involve no value model; `checkpoint` gives spec, units and queues.

    `lists` is how many lists a request has: exhaustive rows are left out where they are too many.
    """

    def sort(scores: PointwiseModel | None) -> Planner:
        return lambda cases, wish: formula_sort(checkpoint, _records(cases), wish, cases[0].length, scores)

    def queues(head_width: int, beam_width: int) -> Planner:
        def plan(cases: Sequence[SimulatedCase], wish: Preferences) -> Ints:
            return true_queues(preparer(checkpoint, cases[0].length), head_width, beam_width, cases, wish)

        return plan

    rows: dict[str, Planner] = {
        "input order": lambda cases, _: np.tile(np.arange(cases[0].length), (len(cases), 1)),
        BASELINE: sort(None),
    }
    if pointwise is not None:
        rows["formula sort, pointwise model"] = sort(pointwise)
    for head_width, beam_width in searches.pairs:
        rows[true_name(head_width, beam_width)] = queues(head_width, beam_width)
    for width in searches.beam_widths:
        rows[over_all_name("true", width)] = partial(true_over_all, width)
    if lists <= MOST_LISTS:
        rows[OPTIMUM] = true_best
    return rows


def learnt_rows(checkpoint: Checkpoint, length: int, searches: Searches, lists: int) -> dict[str, Planner]:
    """List the rows of one value model, by name: as served, and searching all candidates."""

    def of_records(plan: Callable[[Sequence[ListRecord], Preferences], Ints]) -> Planner:
        return lambda cases, wish: plan(_records(cases), wish)

    rows: dict[str, Planner] = {}
    for head, beam in searches.pairs:
        served = ServedPlanner.of(checkpoint, length, head_width=head, beam_width=beam)
        rows[served_name(head, beam)] = of_records(served)
    for width in searches.beam_widths:
        search = partial(learnt_beam, checkpoint, length=length, width=width)
        rows[over_all_name("learnt", width)] = of_records(search)
    if lists <= MOST_LISTS:
        rows["learnt value, exhaustive"] = of_records(partial(learnt_exhaustive, checkpoint, length=length))
    return rows


def list_count(cases: Sequence[SimulatedCase]) -> int:
    """Count the most lists that a case has.

    Raises `ValueError` naming one with fewer candidates than places.
    """
    check_candidates(_records(cases), cases[0].length)
    return max(perm(len(case.record.candidates), case.length) for case in cases)


@dataclass(frozen=True)
class PlannerComparison:
    """Hold cases, searches, and the true values `known` [n, 3] of rows without value model."""

    cases: Sequence[SimulatedCase]
    weights: Weights
    searches: Searches
    known: Mapping[str, Floats]

    @classmethod
    def of(
        cls,
        cases: Sequence[SimulatedCase],
        checkpoint: Checkpoint,
        weights: Weights,
        searches: Searches,
        pointwise: PointwiseModel | None = None,
    ) -> PlannerComparison:
        """Plan without a value model; `checkpoint` lends its spec, units and queues."""
        rows = known_rows(checkpoint, searches, pointwise, list_count(cases))
        known = {RANDOM: random_values(cases), **run_planners(cases, rows, in_units(weights, checkpoint))}
        return cls(cases, weights, searches, known)

    def values(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Floats]:
        """Compute true values [S, n, 3] by row: known ones with S = 1, and those of each checkpoint.

        Each checkpoint plans in its own units, as a bundle made of it would.
        """
        lists, length = list_count(self.cases), self.cases[0].length
        learnt = [
            run_planners(self.cases, learnt_rows(c, length, self.searches, lists), in_units(self.weights, c))
            for c in checkpoints
        ]
        together = {name: np.stack([found[name] for found in learnt]) for name in learnt[0]}
        return {name: values[None] for name, values in self.known.items()} | together


def run_planners(
    cases: Sequence[SimulatedCase], rows: Mapping[str, Planner], preferences: Preferences
) -> dict[str, Floats]:
    """Compute true values [n, 3] of each planner's lists."""
    return {name: true_values(cases, planner(cases, preferences)) for name, planner in rows.items()}


def true_values(cases: Sequence[SimulatedCase], lists: Ints) -> Floats:
    """Compute true values [n, 3] of one list [n, m] per case."""
    return np.array([case.values(chosen[None])[0] for case, chosen in zip(cases, lists, strict=True)])


def random_values(cases: Sequence[SimulatedCase]) -> Floats:
    """Mean true values [n, 3] of `RANDOM_LISTS` random lists of each case."""
    means = []
    for seed, case in enumerate(cases):
        draws = np.random.default_rng(seed).random((RANDOM_LISTS, len(case.record.candidates)))
        means.append(case.values(np.argsort(draws, axis=1)[:, : case.length]).mean(axis=0))
    return np.array(means)


def plan_truly(
    case: SimulatedCase,
    queues: Sequence[Sequence[int]],
    preferences: Preferences,
    *,
    head_width: int,
    beam_width: int = 1,
) -> list[int]:
    """Search as the graph does, but under true values and without MMR.

    The first `head_width` remaining items of each queue are appended to each list held, and the best `beam_width`
    lists are kept. Of equals: the continuation of the better list, then the queue of higher priority, then the rank.
    """
    beams: list[list[int]] = [[]]
    for _ in range(case.length):
        longer = []
        for chosen in beams:
            waiting = ([item for item in queue if item not in chosen] for queue in queues)
            longer += [[*chosen, item] for queue in waiting for item in queue[:head_width]]
        worth = preferences.step_value(case.values(np.array(longer, np.int64)))
        beams = [longer[i] for i in np.argsort(-worth, kind="stable")[:beam_width].tolist()]
    return beams[0]


def true_over_all(width: int, cases: Sequence[SimulatedCase], preferences: Preferences) -> Ints:
    """Search all candidates by a beam of `width` under true values, lists [n, m]; 1: greedy."""
    plans = []
    for case in cases:
        items = range(len(case.record.candidates))
        plans.append(plan_truly(case, [items], preferences, head_width=len(items), beam_width=width))
    return np.array(plans, np.int64)


def _sizes(head_width: int, beam_width: int) -> str:
    return f"h={head_width}" if beam_width == 1 else f"h={head_width}, W={beam_width}"


def _records(cases: Sequence[SimulatedCase]) -> list[ListRecord]:
    return [case.record for case in cases]


def true_queues(
    prepare: Preparer, head_width: int, beam_width: int, cases: Sequence[SimulatedCase], preferences: Preferences
) -> Ints:
    """Search the queues that `prepare` deals as `plan_truly` does, lists [n, m]."""
    plans = []
    for case in cases:
        _, slots = prepare(case.record, preferences)
        queues = [[i for i in queue if i >= 0] for queue in slots.reshape(prepare.limits.queues, -1).tolist()]
        plans.append(plan_truly(case, queues, preferences, head_width=head_width, beam_width=beam_width))
    return np.array(plans, np.int64)


def true_best(cases: Sequence[SimulatedCase], preferences: Preferences) -> Ints:
    """Find the truly best of all lists of each case, [n, m]."""
    return np.stack([best_list(c.values, len(c.record.candidates), c.length, preferences) for c in cases])
