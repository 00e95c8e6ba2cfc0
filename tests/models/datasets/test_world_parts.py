"""The laws of a world, whatever its numbers are, and what brands, anchoring and miscalibration add to it."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.datasets.declared_world import DECLARED, EXPLORATION, LENGTH, declared_world
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatedRequest, Simulator, SimulatorConfig

SMALL = SimulatorConfig(users=50, items=80, candidates=8, brands=4, click_anchoring=0.5)

drawn = cache(Simulator)
orders = st.permutations(range(8))
worlds = st.builds(
    lambda kappa, memory, brands, anchoring: dataclasses.replace(
        SMALL, kappa=kappa, memory=memory, brands=brands, click_anchoring=anchoring
    ),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 0.8, 1.0]),
    st.sampled_from([0, 4]),
    st.sampled_from([0.0, 0.5]),
)
laws = settings(max_examples=40, deadline=None)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


def logit(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(chances / (1 - chances))


@laws
@given(config=worlds, order=orders, index=st.integers(0, 50))
def test_without_context_only_item_and_place_matter(config: SimulatorConfig, order: list[int], index: int) -> None:
    world = drawn(dataclasses.replace(config, kappa=0.0))
    request = world.request(0, index)
    click, buy = world.probabilities(request, np.array([order]))
    places = np.exp(-config.decay * np.arange(len(order)))
    np.testing.assert_allclose(click[0], places * sigmoid(request.relevance)[order], rtol=1e-12)
    np.testing.assert_allclose(buy[0], sigmoid(request.appeal)[order], rtol=1e-12)


@laws
@given(config=worlds, order=orders, seen=st.integers(0, 7), later=st.randoms())
def test_what_stands_later_changes_nothing(config: SimulatorConfig, order: list[int], seen: int, later: Any) -> None:
    world = drawn(config)
    request = world.request(1, seen)
    tail = order[seen:]
    later.shuffle(tail)
    values = world.list_value(request, np.array([order, [*order[:seen], *tail]]))
    np.testing.assert_array_equal(values[0, :seen], values[1, :seen])


@laws
@given(config=worlds, order=orders, length=st.integers(1, 8))
def test_values_are_those_of_the_prefix_and_never_fall(config: SimulatorConfig, order: list[int], length: int) -> None:
    world = drawn(config)
    request = world.request(2, 0)
    whole = world.list_value(request, np.array([order]))
    np.testing.assert_allclose(world.list_value(request, np.array([order[:length]])), whole[:, :length], rtol=1e-12)
    assert (np.diff(whole[0], axis=0, prepend=0.0) >= 0).all()
    assert (whole[..., 1] <= whole[..., 0]).all()


@laws
@given(config=worlds, order=orders)
def test_the_first_place_has_no_context(config: SimulatorConfig, order: list[int]) -> None:
    world = drawn(config)
    request = world.request(3, 0)
    click, buy = world.probabilities(request, np.array([order]))
    assert click[0, 0] == pytest.approx(sigmoid(request.relevance)[order[0]])
    assert buy[0, 0] == pytest.approx(sigmoid(request.appeal)[order[0]])


def request_of(**numbers: Any) -> tuple[Simulator, SimulatedRequest]:
    world = Simulator(dataclasses.replace(SMALL, **numbers))
    return world, world.request(0, 0)


def test_brands_move_the_quality_of_their_items_together_and_nothing_else() -> None:
    (plain, without), (world, request) = request_of(brands=0, candidates=80), request_of(candidates=80)
    assert plain.brand is None
    assert world.brand is not None
    np.testing.assert_array_equal(world.price, plain.price)
    np.testing.assert_array_equal(request.items, without.items)
    added = (request.relevance - without.relevance).round(9)
    of = world.brand[request.items]
    by_brand = [set(added[of == brand].tolist()) for brand in range(4)]
    assert all(len(values) == 1 for values in by_brand)
    assert len(set.union(*by_brand)) == 4
    np.testing.assert_allclose(request.appeal - without.appeal, added * 0.3 / 0.5, atol=1e-8)


def test_two_items_of_a_brand_are_more_alike_and_others_as_before() -> None:
    (_, without), (world, request) = request_of(brands=0), request_of()
    assert world.brand is not None
    brand = world.brand[request.items]
    same = brand[:, None] == brand
    expected = 1 - (1 - without.similarity) * np.where(same, 1 - SMALL.brand_fatigue, 1.0)
    np.testing.assert_allclose(request.similarity, expected, atol=1e-12)
    assert 8 < same.sum() < 64


def test_after_a_dear_item_a_cheap_one_is_clicked_more_only_with_anchoring() -> None:
    for strength, direction in ((0.0, 0), (0.5, 1)):
        numbers = {"redundancy": 0.0, "complement": 0.0, "click_anchoring": strength}
        world, request = request_of(**numbers)
        dear, cheap = int(request.price.argmax()), int(request.price.argmin())
        click, _ = world.probabilities(request, np.array([[dear, cheap]]))
        alone = sigmoid(request.relevance)[cheap] * np.exp(-SMALL.decay)
        assert np.sign(round(click[0, 1] - alone, 12)) == direction


def test_slope_and_shift_miscalibrate_one_score_and_leave_the_truth() -> None:
    _, plain = request_of()
    _, request = request_of(ctr_slope=0.5, ctr_shift=0.25)
    np.testing.assert_allclose(logit(request.ctr), 0.5 * logit(plain.ctr) + 0.25, rtol=1e-9)
    np.testing.assert_array_equal(request.cvr, plain.cvr)
    np.testing.assert_array_equal(request.relevance, plain.relevance)
    _, request = request_of(cvr_slope=2.0, cvr_shift=-1.0)
    np.testing.assert_allclose(logit(request.cvr), 2 * logit(plain.cvr) - 1, rtol=1e-9)
    np.testing.assert_array_equal(request.ctr, plain.ctr)


def test_the_brand_is_a_feature_where_there_are_brands() -> None:
    for brands, expected in ((0, {"category", "style"}), (4, {"category", "style", "brand"})):
        config = dataclasses.replace(SMALL, brands=brands)
        (record,) = load(config, seed=0, lists=1, length=3).records
        assert all(set(candidate.features) == expected for candidate in record.candidates)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"brands": -1}, "brands"),
        ({"brand_fatigue": 1.1}, "brand_fatigue"),
        ({"brand_fatigue": -0.1}, "brand_fatigue"),
        ({"brand_quality": -1.0}, "brand_quality"),
        ({"click_anchoring": -0.5}, "click_anchoring"),
        ({"ctr_slope": -1.0}, "ctr_slope"),
        ({"cvr_shift": float("nan")}, "cvr_shift"),
        ({"memory": 2.0}, "memory"),
        ({"price_median": 0.0}, "price_median"),
    ],
)
def test_a_number_out_of_its_range_is_named(numbers: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(SMALL, **numbers)


def test_the_declared_world_changes_by_the_knobs_named() -> None:
    assert declared_world() == DECLARED
    assert declared_world(kappa=0.0, candidates=30) == dataclasses.replace(DECLARED, kappa=0.0, candidates=30)
    assert DECLARED.brands > 0 < DECLARED.click_anchoring
    assert 0 < EXPLORATION < 1
    assert DECLARED.candidates > LENGTH
    with pytest.raises(TypeError):
        declared_world(no_such_knob=1)
