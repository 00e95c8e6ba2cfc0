"""The proof of the ruled graph holds in both precisions, and finds a graph that keeps rules a little wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.families.degre import Degre
from export.families.family import ModelFamily
from export.families.sort_gen import SortGen
from export.proof.precision import to_half
from export.proof.verify import ProofError, prove
from export.proof.verify_value import check_list, prove_value
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.rules.tensors import GROUPS, LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from models.planners.runtime import GraphPlanner
from tests.export.examples import LIMITS, degre, sort_gen
from tests.models.planners.examples import SPEC, UNITS, random_model
from tests.models.planners.graphs.test_degre import family as pointing
from tests.models.planners.rule_examples import no_rules

Outputs = Mapping[str, NDArray[Any]]
MANY = Limits(4, 1, queue_length=30)
FAMILIES = [pytest.param(sort_gen(), LIMITS, id="sort-gen"), pytest.param(degre(), MANY, id="degre")]


def ruled(family: ModelFamily, limits: Limits) -> GraphPlanner:
    return GraphPlanner(family.graph(limits, groups=GROUPS).build({}))


@pytest.mark.long
@pytest.mark.parametrize(("family", "limits"), FAMILIES)
def test_a_sound_ruled_graph_is_proved(family: ModelFamily, limits: Limits) -> None:
    proof = prove(ruled(family, limits), family, limits, requests=60, seed=7, groups=GROUPS)
    assert proof.requests == 60
    assert proof.near_ties <= 12
    assert 0 < proof.largest_error < 1e-4


@pytest.mark.long
@pytest.mark.parametrize(("family", "limits"), FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: {STEP_BARS: np.zeros_like(f[STEP_BARS])}, id="no pins"),
        pytest.param(lambda f: {MEMBERS: np.zeros_like(f[MEMBERS])}, id="no groups"),
        pytest.param(lambda f: {ROOM: f[ROOM] + np.float32(1)}, id="more room"),
        pytest.param(lambda f: {ROOM: f[ROOM] - np.float32(1)}, id="less room"),
        pytest.param(lambda f: {LIFTS: f[LIFTS] * np.float32(1.01)}, id="boosts"),
        pytest.param(lambda f: {SEEN: np.zeros_like(f[SEEN])}, id="shown items"),
    ],
)
def test_a_graph_that_keeps_other_rules_is_refused(
    family: ModelFamily, limits: Limits, change: Callable[[Arrays], Arrays]
) -> None:
    planner = ruled(family, limits)
    with pytest.raises(ProofError, match=r"^request \d+ of seed 7: (position \d+: |the graph kept )"):
        prove(lambda f: planner({**f, **change(dict(f))}), family, limits, requests=100, seed=7, groups=GROUPS)


@pytest.mark.long
@pytest.mark.parametrize(("family", "limits"), FAMILIES)
def test_float16_keeps_rules_and_is_proved_by_the_value_that_it_loses(family: ModelFamily, limits: Limits) -> None:
    half = GraphPlanner(to_half(family.graph(limits, groups=GROUPS).build({})))
    proof = prove_value(half, family, limits, most_lost=100.0, requests=60, seed=8, groups=GROUPS)
    assert proof.largest_error > 1e-6
    assert proof.lost_percent < 5


def test_a_list_that_breaks_a_rule_is_refused_and_one_that_ends_early_is_not() -> None:
    request: Arrays = {"valid": np.ones((1, 3), bool)} | no_rules(3, 3, 1)
    request[STEP_BARS][0, 1, 2] = 1

    def checked(*order: int) -> list[int]:
        return check_list({"order": np.array([order])}, request, 3)

    assert checked(2, 0, 1) == [2, 0, 1]
    assert checked(2, -1, -1) == [2]
    assert checked(-1, -1, -1) == []
    with pytest.raises(ProofError, match=r"^position 1: slot 2 may not stand there$"):
        checked(0, 2, 1)
    with pytest.raises(ProofError, match="is not 1 different candidates and nothing else"):
        checked(2, -1, 1)


def queues_of(length: int, beam_width: int) -> tuple[SortGen, Limits]:
    sizes = ValueConfig(dim=16, layers=1, heads=2, list_length=length, field_dim=4, cosines=True)
    return SortGen(Checkpoint(random_model(SPEC, sizes, 5), UNITS)), Limits(length, 3, 2, beam_width=beam_width)


def pointer_of(length: int) -> tuple[Degre, Limits]:
    return pointing(length=length, conditioned=True, context="full", cosines=True), Limits(length, 1, queue_length=200)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "requests"), [(1, 150), (4, 150), (10, 140), (50, 60)])
@pytest.mark.parametrize("make", [lambda n: queues_of(n, 1), lambda n: queues_of(n, 3), pointer_of])
def test_fifteen_hundred_requests_are_planned_as_the_reference_plans_them(
    make: Callable[[int], tuple[ModelFamily, Limits]], length: int, requests: int
) -> None:
    """1 to 200 candidates; both families, greedily and by a beam."""
    family, limits = make(length)
    proof = prove(ruled(family, limits), family, limits, requests=requests, seed=length, groups=GROUPS)
    assert proof.requests == requests
