"""The ruled graph of a pointer against the plain reference, which keeps rules one number at a time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.families.degre import Degre
from export.families.family import ReferencePlanner
from export.proof.requests import RequestShape, random_request, stack, with_preferences
from export.proof.verify import compare
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.rules.tensors import GROUPS, LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS
from models.nets.generator import GeneratorConfig
from models.nets.value import ValueConfig
from models.planners.graphs.degre import pointer_graph
from models.planners.runtime import GraphPlanner
from tests.models.planners.examples import SPEC, random_generator, random_model
from tests.models.planners.graphs.test_degre import SLOT_ARRAYS, family
from tests.models.planners.graphs.test_sort_gen import optimised
from tests.models.planners.rule_examples import no_rules, random_rules

FEW = 4
HAIR = 1e-3


class Ruled(NamedTuple):
    """A family's reference, and its graphs with rules and without."""

    degre: Degre
    plan: ReferencePlanner
    ruled: GraphPlanner
    plain: GraphPlanner


@lru_cache
def built(length: int, groups: int = FEW) -> Ruled:
    degre = family(length=length, conditioned=True, context="full", cosines=True)
    limits = Limits(length, 1, queue_length=200)
    ruled, plain = (GraphPlanner(degre.graph(limits, groups=g).build({})) for g in (groups, 0))
    return Ruled(degre, degre.reference(limits), ruled, plain)


def wished(n: int, seed: int, trade_off: float = 0.7, window: int = 3, shape: RequestShape | None = None) -> Arrays:
    request = random_request(SPEC, Limits(n, 1), seed, shape or RequestShape(full=True))
    return with_preferences(request, (5, 1, 1), trade_off, window)


def follows(length: int, n: int, seed: int, groups: int = FEW, **wishes: Any) -> list[int]:
    """Hold the graph to the reference on one random request; the reference's list."""
    example = built(length, groups)
    rules = random_rules(np.random.default_rng(seed), length, n, groups)
    request = wished(n, seed, **wishes) | rules
    answer = example.plan(request)
    compare(example.ruled(request), answer, length)
    return [step.slot for step in answer.steps]


@settings(deadline=None, max_examples=80)
@given(
    length=st.sampled_from([1, 2, 4, 10]),
    n=st.sampled_from([1, 2, 3, 5, 12, 30]),
    shape=st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans()),
    trade_off=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    window=st.integers(0, 11),
    seed=st.integers(0, 2**31),
)
def test_the_graph_keeps_rules_as_the_reference_does(
    length: int, n: int, shape: RequestShape, trade_off: float, window: int, seed: int
) -> None:
    follows(length, n, seed, shape=shape, trade_off=trade_off, window=window)


def test_with_all_groups_and_many_candidates_some_lists_end_early_and_some_do_not() -> None:
    lengths = {len(follows(10, n, seed, GROUPS)) for n in (100, 200) for seed in range(8)}
    assert min(lengths) < 10
    assert max(lengths) == 10


@pytest.mark.slow
def test_a_list_may_have_fifty_positions_under_rules() -> None:
    for seed in range(40):
        follows(50, (3, 60, 120, 200)[seed % 4], seed, GROUPS)


@pytest.mark.parametrize("length", [1, 4, 10])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_zeros_are_no_rules(length: int, n: int) -> None:
    example = built(length)
    for trade_off in (0.3, 1.0):
        request = wished(n, seed=n, trade_off=trade_off)
        alike(example.ruled(request | no_rules(length, n, FEW)), example.plain(request))


def alike(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if name in ("order", "runner_up"):
            np.testing.assert_array_equal(found[name], array)
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


def test_neither_padding_nor_other_rules_in_a_batch_change_an_answer() -> None:
    example = built(4)
    rows = [wished(n, seed=n) | random_rules(np.random.default_rng(n), 4, n, FEW) for n in (12, 1, 5)]
    rows += [wished(n, seed=n) | no_rules(4, n, FEW) for n in (3, 30)]
    batch = example.ruled(stack(rows))
    for i, row in enumerate(rows):
        alike({name: array[i : i + 1] for name, array in batch.items()}, example.ruled(row))


def equal_candidates(n: int, length: int, **wishes: Any) -> Arrays:
    """Candidates that the model cannot tell apart, so that rules alone decide; a lower slot is boosted by a hair."""
    request = wished(n, seed=0, shape=RequestShape(full=True, embedded=0.0), **wishes)
    same = {
        name: np.repeat(array[:, :1], n, axis=1) if name in SLOT_ARRAYS else array for name, array in request.items()
    }
    rules = no_rules(length, n, FEW)
    rules[LIFTS][0] = HAIR * np.arange(n)[::-1]
    return same | rules


def order_of(request: Arrays, length: int) -> list[int]:
    order: list[int] = built(length).ruled(request)["order"][0].tolist()
    return order


def test_a_barred_candidate_returns_at_the_next_step_and_a_taken_one_never() -> None:
    request = equal_candidates(5, 4)
    request[STEP_BARS][0, :2, 0] = 1
    request[STEP_BARS][0, 2, 1] = 1
    assert order_of(request, 4) == [1, 2, 0, 3]


def test_what_is_barred_has_no_probability_and_is_no_runner_up() -> None:
    request = equal_candidates(5, 4, trade_off=1.0)
    request[STEP_BARS][0, 0, 2:] = 1
    outputs = built(4).ruled(request)
    assert outputs["score"][0].tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 3, 1 / 2], rel=0.02)
    assert outputs["runner_up"][0].tolist() == [1, 2, 3, 4]
    request[STEP_BARS][0, 0, 1:] = 1
    assert built(4).ruled(request)["runner_up"][0].tolist() == [-1, 2, 3, 4]


def test_the_list_ends_where_all_are_barred_and_all_outputs_with_it() -> None:
    request = equal_candidates(9, 4)
    request[STEP_BARS][0, 2] = 1
    outputs = built(4).ruled(request)
    assert outputs["order"][0].tolist() == [0, 1, -1, -1]
    for name, nothing in (("value", 0), ("penalty", 0), ("score", 0), ("runner_up", -1)):
        assert (outputs[name][0, 2:] == nothing).all()
    request[STEP_BARS][0] = 1
    assert built(4).ruled(request)["order"][0].tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], [0, 3, 4, 5]),  # Every look-back allows one of the group.
        ([1, 1, 2, 1, 2, 2], [0, 3, 1, 4]),  # Not two of it in a row.
        ([1, 2, 2, 2, 2, 2], [0, 3, 1, 4]),  # The third place alone would be the third of three.
        ([0, 2, 2, 2, 2, 2], [0, 3, 1, 4]),
        ([3, 3, 3, 3, 3, 3], [0, 1, 2, 3]),
    ],
)
def test_a_group_is_barred_once_its_picks_among_the_last_steps_reach_the_room(
    room: list[int], expected: list[int]
) -> None:
    request = equal_candidates(6, 4)
    request[MEMBERS][0, :3, 2] = 1
    request[ROOM][0, :, 2] = room
    assert order_of(request, 4) == expected


def test_a_boost_is_a_factor_of_the_probability_and_moves_no_other() -> None:
    request = equal_candidates(5, 4, trade_off=0.5, window=0)
    request[LIFTS][0] += [0, 0, 1, -0.5, 0]
    outputs = built(4).ruled(request)
    assert outputs["order"][0].tolist() == [2, 0, 1, 4]
    assert outputs["score"][0].tolist() == pytest.approx([0.5 * 2 / 5, 0.5 / 4, 0.5 / 3, 0.5 / 2], rel=0.02)


def test_shown_items_are_charged_from_the_first_step_on_and_the_mean_to_those_without_a_cosine() -> None:
    request = equal_candidates(3, 4, trade_off=0.5, window=2)
    request[SEEN][0, 0] = [2.9, 2.1, 0]
    request[SEEN][0, 1] = [2.4, 2.4, 2.4]
    outputs = built(4).ruled(request)
    assert outputs["order"][0].tolist() == [1, 0, 2, -1]
    assert outputs["penalty"][0].tolist() == pytest.approx([0.05, 0.2, 0, 0], rel=0.02)
    assert outputs["score"][0].tolist() == pytest.approx([0.5 / 3 - 0.05, 0.5 / 2 - 0.2, 0.5, 0], rel=0.02)


def test_the_mean_is_that_of_candidates_that_may_stand_there() -> None:
    request = equal_candidates(4, 4, trade_off=0.5, window=2)
    request[SEEN][0, 0] = [2.9, 2.1, 2.3, 0]
    request[STEP_BARS][0, 0, 1:3] = 1
    outputs = built(4).ruled(request)
    assert outputs["order"][0, 0] == 0
    assert outputs["penalty"][0, 0] == pytest.approx(0.45, rel=0.02)
    assert outputs["runner_up"][0, 0] == 3


def test_rules_cost_few_nodes(tmp_path: Path) -> None:
    """Nodes are what a small request costs."""
    models = (
        random_generator(SPEC, GeneratorConfig(list_length=10), seed=0),
        random_model(SPEC, ValueConfig(input_block="fields"), 0),
    )
    sizes = []
    for groups in (0, GROUPS):
        graph = pointer_graph(*models, Limits(10, 1, queue_length=100), groups=groups).build({})
        sizes.append(len(optimised(graph, tmp_path / f"{groups}.onnx").graph.node))
    assert sizes[1] - sizes[0] <= 120
