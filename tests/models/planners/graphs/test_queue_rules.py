"""The ruled graph of queues, greedy and beams, against the plain reference, which keeps rules one number at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.families.family import ReferencePlanner
from export.families.sort_gen import SortGen
from export.proof.precision import to_half
from export.proof.requests import RequestShape, random_request, random_requests, stack, with_preferences
from export.proof.verify import compare
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.rules.definition import Boost, Cap, Pin, Rules
from models.contract.rules.ruling import compile_rules
from models.contract.rules.tensors import GROUPS, LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, rule_tensors
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from models.planners.graphs.sort_gen import queue_graph
from models.planners.runtime import GraphPlanner
from tests.models.contract.rules.check import broken_rules
from tests.models.contract.rules.examples import Item
from tests.models.planners.examples import SPEC, UNITS, random_model
from tests.models.planners.graphs.test_sort_gen import optimised
from tests.models.planners.rule_examples import no_rules, random_rules

FEW = 4
HAIR = 1e-3
SIZES = ValueConfig(dim=16, layers=2, heads=2, field_dim=4, context_dim=5)
HEADS = [
    replace(SIZES, head="independent"),
    replace(SIZES, context="none", layers=1),
    replace(SIZES, context="linear"),
    replace(SIZES, head="pointwise"),
    replace(SIZES, head="entire-space"),
    replace(SIZES, context="full", cosines=True),
]
GREEDY = [Limits(1, 2), Limits(4, 3), Limits(4, 2, head_width=2), Limits(10, 3, head_width=2)]
BEAMS = [
    Limits(1, 2, head_width=2, beam_width=4),
    Limits(4, 1, beam_width=4),
    Limits(4, 3, head_width=2, beam_width=4),
    Limits(10, 3, head_width=2, beam_width=4),
]
BY_HAND = [Limits(4, 3), Limits(4, 3, beam_width=4)]
WIDE = Limits(10, 4, head_width=2, beam_width=4)


class Ruled(NamedTuple):
    """A model's reference, and its graphs with rules and without."""

    plan: ReferencePlanner
    ruled: GraphPlanner
    plain: GraphPlanner


@lru_cache
def built(limits: Limits, head: int = -1, groups: int = FEW) -> Ruled:
    model = random_model(SPEC, replace(HEADS[head], list_length=limits.list_length), seed=limits.slots)
    family = SortGen(Checkpoint(model, UNITS))
    ruled, plain = (GraphPlanner(family.graph(limits, groups=g).build({})) for g in (groups, 0))
    return Ruled(family.reference(limits), ruled, plain)


def wished(
    limits: Limits, seed: int, trade_off: float = 0.7, window: int = 3, shape: RequestShape | None = None
) -> Arrays:
    return with_preferences(random_request(SPEC, limits, seed, shape), (5, 1, 1), trade_off, window)


def follows(example: Ruled, request: Arrays, length: int) -> int:
    """Hold the graph to the reference on a request; the length of the reference's list."""
    answer = example.plan(request)
    compare(example.ruled(request), answer, length)
    return len(answer.steps)


@pytest.mark.long
@settings(deadline=None, max_examples=100)
@given(
    limits=st.sampled_from([*GREEDY, *BEAMS]),
    head=st.integers(0, len(HEADS) - 1),
    shape=st.builds(RequestShape, full=st.booleans(), embedded=st.sampled_from([0.0, 0.5, 1.0]), twins=st.booleans()),
    trade_off=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    window=st.integers(0, 11),
    sort=st.integers(0, 10),
    seed=st.integers(0, 2**31),
)
def test_the_graph_keeps_any_numbers_as_the_reference_does(
    limits: Limits, head: int, shape: RequestShape, trade_off: float, window: int, sort: int, seed: int
) -> None:
    request = wished(limits, seed, trade_off, window, shape)
    request["sort_slots"][:, sort:] = -1
    rules = random_rules(np.random.default_rng(seed), limits.list_length, limits.slots, FEW)
    follows(built(limits, head), request | rules, limits.list_length)


@pytest.mark.long
@pytest.mark.parametrize("limits", [*GREEDY[1:], *BEAMS[1:]])
def test_the_graph_keeps_compiled_rules_as_the_reference_does(limits: Limits) -> None:
    """More groups can bind here than the graph has, and a quarter of the requests have no rules."""
    lengths = []
    for request in random_requests(SPEC, limits, 16, seed=limits.slots, groups=FEW):
        possible = min(limits.list_length, int(request["valid"].sum()))
        lengths.append(follows(built(limits), request, limits.list_length) / possible)
    assert max(lengths) == 1
    assert min(lengths) < 1  # some end early


@pytest.mark.slow
@pytest.mark.parametrize("beam_width", [1, 2])
def test_a_list_may_have_fifty_positions_under_rules(beam_width: int) -> None:
    limits = Limits(50, 4, head_width=2, beam_width=beam_width)
    for request in random_requests(SPEC, limits, 8, seed=beam_width, groups=GROUPS):
        follows(built(limits, groups=GROUPS), request, limits.list_length)


@pytest.mark.parametrize("limits", [*GREEDY, *BEAMS])
@pytest.mark.parametrize("head", range(len(HEADS)))
def test_zeros_are_no_rules(limits: Limits, head: int) -> None:
    example = built(limits, head)
    neutral = no_rules(limits.list_length, limits.slots, FEW)
    for seed, trade_off in enumerate((0.0, 0.3, 1.0)):
        request = wished(limits, seed, trade_off)
        alike(example.ruled(request | neutral), example.plain(request))


def alike(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if name in ("order", "runner_up", "kept_sort"):
            np.testing.assert_array_equal(found[name], array)
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("limits", [GREEDY[-1], BEAMS[-1]])
def test_rows_with_rules_and_without_share_a_batch_and_change_nothing(limits: Limits) -> None:
    example, size = built(limits), (limits.list_length, limits.slots, FEW)
    rows = [wished(limits, seed) | random_rules(np.random.default_rng(seed), *size) for seed in range(4)]
    rows += [wished(limits, seed, 0.1 * seed) | no_rules(*size) for seed in range(4, 8)]
    batch = example.ruled(stack(rows))
    for i, row in enumerate(rows):
        own = {name: array[i : i + 1] for name, array in batch.items()}
        alike(own, example.ruled(row))
        if i >= 4:
            alike(own, example.plain(row))


@pytest.mark.parametrize("limits", [replace(WIDE, beam_width=1), WIDE])
def test_all_pins_are_exact_and_all_caps_are_kept(limits: Limits) -> None:
    """300 lists of eight brands each."""
    planner, length = built(limits, groups=GROUPS).ruled, limits.list_length
    batches = [_pinned_and_capped(limits, seed) for seed in range(300)]
    exact = kept = full = 0
    for first in range(0, 300, 50):
        part = batches[first : first + 50]
        orders = planner(stack([request for request, _, _ in part]))["order"].tolist()
        for order, (_, items, rules) in zip(orders, part, strict=True):
            full += min(order) >= 0 and len(set(order)) == length
            exact += all(items[order[pin.position - 1]].id == pin.id for pin in rules.pinned)
            kept += not broken_rules(items, rules, order)
    assert (exact, kept, full) == (300, 300, 300)


def _pinned_and_capped(limits: Limits, seed: int) -> tuple[Arrays, list[Item], Rules]:
    """A request with one to three pins, two caps and a boost, which some list keeps whatever its beginning."""
    rng = np.random.default_rng(seed)
    brands, shelves = rng.permutation(limits.slots) % 8, rng.integers(0, 3, limits.slots)
    items = [
        Item(f"c{i}", {"brand": f"b{b}", "shelf": f"s{s}"})
        for i, (b, s) in enumerate(zip(brands, shelves, strict=True))
    ]
    pins = rng.permutation(limits.list_length)[: rng.integers(1, 4)]
    pinned = [int(np.flatnonzero(brands == i)[0]) for i in range(len(pins))]  # of different brands
    rules = Rules(
        pinned=tuple(Pin(f"c{slot}", int(place) + 1) for slot, place in zip(pinned, pins, strict=True)),
        caps=(Cap("brand", 2), Cap("brand", 1, 3)),
        boosts=(Boost({"shelf": "s1"}, 1.5),),
    )
    ruling = compile_rules(items, rules, top_n=limits.list_length)
    tensors = rule_tensors(ruling, np.arange(limits.slots), length=limits.list_length, groups=GROUPS)
    request = wished(limits, seed, shape=RequestShape(full=True))
    request["sort_slots"][:] = -1
    return request | {name: array[None] for name, array in tensors.items()}, items, rules


def equal_candidates(limits: Limits, **wishes: Any) -> Arrays:
    """Candidates that the model cannot tell apart, so that rules alone decide; a lower slot is boosted by a hair."""
    request = wished(limits, 0, shape=RequestShape(full=True, embedded=0.0), **wishes)
    n = limits.slots
    for name, array in request.items():
        if name.startswith("item_") or name in ("priors", "price"):
            request[name] = np.repeat(array[:, :1], n, axis=1)
    request["sort_slots"][:] = -1
    rules = no_rules(limits.list_length, n, FEW)
    rules[LIFTS][0] = HAIR * np.arange(n)[::-1]
    return request | rules


def order_of(request: Arrays, limits: Limits, head: int = 1) -> list[int]:
    order: list[int] = built(limits, head).ruled(request)["order"][0].tolist()
    return order


def test_a_barred_slot_returns_at_a_later_step_and_a_chosen_one_never() -> None:
    limits = BY_HAND[0]
    request = equal_candidates(limits)
    request[STEP_BARS][0, :2, :2] = 1
    assert order_of(request, limits) == [2, 3, 0, 1]
    request[STEP_BARS][0, 0, :4] = 1
    assert order_of(request, limits) == [4, 2, 0, 1]


@pytest.mark.parametrize("limits", BY_HAND)
def test_a_list_ends_where_all_are_barred_and_does_not_go_on(limits: Limits) -> None:
    request = equal_candidates(limits)
    request[STEP_BARS][0, 2] = 1
    outputs = built(limits, 1).ruled(request)
    assert sorted(outputs["order"][0, :2].tolist()) == [0, 1]
    assert outputs["order"][0, 2:].tolist() == [-1, -1]
    for name, nothing in (("value", 0), ("penalty", 0), ("score", 0), ("runner_up", -1)):
        assert (outputs[name][0, 2:] == nothing).all()
    request[STEP_BARS][0, 0] = 1
    assert order_of(request, limits) == [-1] * 4


def test_a_list_that_has_ended_stays_so_for_all_places_of_a_long_one() -> None:
    """More empty slots are taken than stand behind any queue."""
    limits = Limits(10, 1, head_width=2)
    request = equal_candidates(limits)
    request[MEMBERS][0, :, 0] = 1
    request[ROOM][0, :, 0] = 10
    request[STEP_BARS][0, 1, 1:] = 1
    assert order_of(request, limits) == [0] + [-1] * 9


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], [0, 4, 5, 6]),  # Every look-back allows one of the group.
        ([1, 1, 2, 1, 2, 2], [0, 4, 1, 5]),  # Not two of it in a row.
        ([1, 2, 2, 2, 2, 2], [0, 4, 1, 5]),  # The third place alone would be the third of three.
        ([0, 2, 2, 2, 2, 2], [0, 4, 1, 5]),
        ([3, 3, 3, 3, 3, 3], [0, 1, 2, 4]),
    ],
)
def test_a_group_is_barred_once_its_picks_among_the_last_steps_reach_the_room(
    room: list[int], expected: list[int]
) -> None:
    limits = BY_HAND[0]
    request = equal_candidates(limits)
    request[MEMBERS][0, :4, 2] = 1
    request[ROOM][0, :, 2] = room
    assert order_of(request, limits) == expected


def test_a_boost_moves_a_slot_and_leaves_its_reported_value() -> None:
    limits = BY_HAND[0]
    request = equal_candidates(limits, trade_off=1.0)
    plain = built(limits, 1).ruled(request)
    request[LIFTS][0, 4] = 1.0
    outputs = built(limits, 1).ruled(request)
    assert outputs["order"][0].tolist() == [4, 0, 1, 2]
    alike({"value": outputs["value"]}, {"value": plain["value"]})
    first, alone = outputs["score"][0, 0], plain["score"][0, 0]
    assert first == pytest.approx(2 * alone / (1 + HAIR * 11), rel=1e-4)


def test_shown_items_are_charged_from_the_first_step_on_and_the_mean_to_those_without_a_cosine() -> None:
    limits = BY_HAND[0]
    request = equal_candidates(limits, trade_off=0.5, window=2)
    request[SEEN][0, 0, [0, 4, 8]] = [2.9, 2.1, 0]
    outputs = built(limits, 1).ruled(request)
    assert outputs["order"][0].tolist()[:2] == [4, 0]
    assert outputs["penalty"][0].tolist() == pytest.approx([0.05, 0, 0, 0])
    request[SEEN][0, 0, [0, 4, 8]] = [2.9, 2.7, 0]
    request[LIFTS][0, 8] = 5.0
    outputs = built(limits, 1).ruled(request)
    assert outputs["order"][0, 0] == 8
    assert outputs["penalty"][0, 0] == pytest.approx(0.5 * 0.8)


def _trap(limits: Limits) -> Arrays:
    """Slot 0 is boosted, and behind it nothing may stand; behind 4 only 5 may."""
    request = equal_candidates(limits)
    request[STEP_BARS][0, :, [i for i in range(12) if i not in (0, 4, 5)]] = 1
    request[MEMBERS][0, [0, 4], 0] = 1
    request[MEMBERS][0, [0, 5], 1] = 1
    request[ROOM][0] = 1
    request[LIFTS][0, 0] = 9.0
    return request


def test_a_beam_prefers_lists_that_go_on() -> None:
    greedy, beam = BY_HAND
    assert order_of(_trap(greedy), greedy) == [0, -1, -1, -1]
    assert order_of(_trap(beam), beam) == [4, 5, -1, -1]


@pytest.mark.parametrize(
    ("listed", "kept", "expected"),
    [([4, 5], True, [4, 5, -1, -1]), ([4], False, [0, -1, -1, -1]), ([], False, [0, -1, -1, -1])],
)
def test_the_longer_of_plan_and_sort_is_given(listed: Sequence[int], kept: bool, expected: list[int]) -> None:
    limits = BY_HAND[0]
    request = _trap(limits)
    request["sort_slots"][0, : len(listed)] = listed
    outputs = built(limits, 1).ruled(request)
    assert outputs["kept_sort"].tolist() == [kept]
    assert outputs["order"][0].tolist() == expected
    assert [score != 0 for score in outputs["score"][0].tolist()] == [slot >= 0 for slot in expected]
    compare(outputs, built(limits, 1).plan(request), limits.list_length)


@pytest.mark.parametrize("beam_width", [1, 4])
@pytest.mark.parametrize("head_width", [1, 2])
@pytest.mark.parametrize("changes", [{"head": "independent"}, {"context": "full", "cosines": True}])
def test_rules_cost_few_nodes(tmp_path: Path, changes: dict[str, Any], head_width: int, beam_width: int) -> None:
    """Nodes are what a small request costs; the budget is 220 at ten places."""
    limits = replace(WIDE, head_width=head_width, beam_width=beam_width)
    model = random_model(SPEC, replace(ValueConfig(dim=16, layers=3, field_dim=4), **changes), seed=0)
    sizes = []
    for groups in (0, GROUPS):
        graph = queue_graph(model, limits, UNITS, groups=groups).build({})
        sizes.append(len(optimised(graph, tmp_path / f"{groups}.onnx").graph.node))
    assert sizes[1] - sizes[0] <= 200


def test_half_precision_keeps_rules() -> None:
    """What orders the slots stays in float32."""
    model = random_model(SPEC, replace(SIZES, list_length=10), seed=1)
    half = GraphPlanner(to_half(queue_graph(model, WIDE, UNITS, groups=GROUPS).build({})))
    for seed in range(5):
        request, items, rules = _pinned_and_capped(WIDE, seed)
        order = half(request)["order"][0].tolist()
        assert min(order) >= 0
        assert not broken_rules(items, rules, order)
        assert all(items[order[pin.position - 1]].id == pin.id for pin in rules.pinned)
