"""Plan with true values, and at random: the ceilings and the floor of the tables.

Axis letters: n requests, m places, W lists held, k continuations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import perm
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.contract.features import Encoder
from models.contract.manifest import Limits
from models.contract.spec import OBJECTIVES
from models.data.records import ListRecord
from models.evaluation.simulated.comparison import MOST_LISTS, SimulatedCase, plan_truly
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.evaluation.truth.profile import WorldSizes
from models.planners.objective import default_queues
from models.planners.prepare import Preparer
from models.planners.references.sort_gen import Preferences
from models.planners.search.exhaustive import best_list

BEAM: Final = 8
HEAD: Final = 2
"""Remaining items of each queue that the search of queues appends."""


def true_beam(case: SimulatedCase, preferences: Preferences, width: int) -> Ints:
    """Search all candidates by a beam of `width` under true values, a list [m]; 1: greedy.

    Of equals, the continuation of the better list comes first, then the candidate that comes first.
    """
    n = len(case.record.candidates)
    beams = np.empty((1, 0), np.int64)
    for _ in range(case.length):
        free = np.ones((len(beams), n), bool)
        np.put_along_axis(free, beams, False, axis=1)
        rows, items = np.nonzero(free)
        longer = np.column_stack([beams[rows], items])
        worth = preferences.step_value(case.values(longer))
        beams = longer[np.argsort(-worth, kind="stable")[:width]]
    best: Ints = beams[0]
    return best


def _random(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    rng = np.random.default_rng([context.seed, len(records)])
    return np.stack([rng.permutation(len(record.candidates))[: context.bench.length] for record in records])


def _truly(
    context: PlanContext,
    records: Sequence[ListRecord],
    _: Setting,
    plan: Callable[[SimulatedCase, Preferences], Ints],
) -> Ints:
    """Plan each record's list [m] with its truth, lists [n, m]."""
    cases = {case.record.request_id: case for case in context.bench.cases}
    return np.stack([plan(cases[record.request_id], context.preferences) for record in records])


def _exhaustive(case: SimulatedCase, preferences: Preferences) -> Ints:
    return np.asarray(best_list(case.values, len(case.record.candidates), case.length, preferences), np.int64)


def _queues(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Search the product's queues as its graph does, under true values and without MMR."""
    spec, units = context.bench.spec, dict(zip(OBJECTIVES, context.bench.units, strict=True))
    queues = default_queues(spec, units)
    prepare = Preparer(Encoder(spec), Limits(context.bench.length, len(queues), HEAD, beam_width=BEAM), queues)

    def plan(case: SimulatedCase, preferences: Preferences) -> Ints:
        _, slots = prepare(case.record, preferences)
        dealt = [[i for i in queue if i >= 0] for queue in slots.reshape(len(queues), -1).tolist()]
        return np.array(plan_truly(case, dealt, preferences, head_width=HEAD, beam_width=BEAM), np.int64)

    return _truly(context, records, setting, plan)


def _all_can_be_valued(world: WorldSizes) -> bool:
    return perm(world.candidates, world.length) <= MOST_LISTS


METHODS: Final[tuple[Method, ...]] = (
    Method("random", "random list", "base", _random),
    Method(
        "true-greedy",
        "true value, greedy over all",
        "ceilings",
        partial(_truly, plan=partial(true_beam, width=1)),
        seeded=False,
        cheating=True,
    ),
    Method(
        "true-queues-beam",
        f"true value, queues h={HEAD}, W={BEAM}",
        "ceilings",
        _queues,
        seeded=False,
        cheating=True,
    ),
    Method(
        "true-beam",
        f"true value, beam {BEAM} over all",
        "ceilings",
        partial(_truly, plan=partial(true_beam, width=BEAM)),
        seeded=False,
        cheating=True,
    ),
    Method(
        "true-exhaustive",
        "true value, all lists",
        "ceilings",
        partial(_truly, plan=_exhaustive),
        seeded=False,
        cheating=True,
        possible=_all_can_be_valued,
    ),
)
