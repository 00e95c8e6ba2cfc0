"""Plan with true values, and at random: the ceilings and the floor of the tables.

Axis letters: n requests, m places.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import perm
from typing import Final

import numpy as np

from models.contract.arrays import Ints
from models.contract.features import Encoder
from models.contract.manifest import Limits
from models.contract.spec import OBJECTIVES
from models.data.records import ListRecord
from models.evaluation.simulated.comparison import MOST_LISTS, SimulatedCase, true_best, true_over_all, true_queues
from models.evaluation.truth.method import Method, PlanContext, Setting
from models.evaluation.truth.methods.sort_gen import BEAM
from models.evaluation.truth.profile import WorldSizes
from models.planners.objective import default_queues
from models.planners.prepare import Preparer

HEAD: Final = BEAM.head_width
"""Remaining items of each queue that the search of queues appends: as many as SORT-Gen's with its beam."""


def _random(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    rng = np.random.default_rng([context.seed, len(records)])
    return np.stack([rng.permutation(len(record.candidates))[: context.bench.length] for record in records])


def _cases(context: PlanContext, records: Sequence[ListRecord]) -> list[SimulatedCase]:
    """Return the test requests with their truth."""
    cases = {case.record.request_id: case for case in context.bench.cases}
    return [cases[record.request_id] for record in records]


def _greedy(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    return true_over_all(1, _cases(context, records), context.preferences)


def _beam(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    return true_over_all(context.profile.beam, _cases(context, records), context.preferences)


def _exhaustive(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    return true_best(_cases(context, records), context.preferences)


def _queues(context: PlanContext, records: Sequence[ListRecord], _: Setting) -> Ints:
    """Search the product's queues as its graph does, under true values and without MMR."""
    spec, width = context.bench.spec, context.profile.beam
    queues = default_queues(spec, dict(zip(OBJECTIVES, context.bench.units, strict=True)))
    prepare = Preparer(Encoder(spec), Limits(context.bench.length, len(queues), HEAD, beam_width=width), queues)
    return true_queues(prepare, HEAD, width, _cases(context, records), context.preferences)


def _all_can_be_valued(world: WorldSizes) -> bool:
    return perm(world.candidates, world.length) <= MOST_LISTS


_ceiling = partial(Method, group="ceilings", seeded=False, cheating=True)

METHODS: Final[tuple[Method, ...]] = (
    Method("random", "random list", "base", _random),
    _ceiling("true-greedy", "true value, greedy over all", plan=_greedy),
    _ceiling("true-queues-beam", f"true value, beam over queues, h = {HEAD}", plan=_queues),
    _ceiling("true-beam", "true value, beam over all", plan=_beam),
    _ceiling("true-exhaustive", "true value, all lists", plan=_exhaustive, possible=_all_can_be_valued),
)
