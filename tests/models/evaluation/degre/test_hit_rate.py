"""Hit rates, optimality and order share against slow counts and hand-made judges."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import perm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.evaluation.degre.hit_rate import (
    better,
    hit_difference,
    hit_rate,
    hit_share,
    hits,
    optimality,
    order_share,
    permutations_of,
    permuted_sets,
    random_lists,
)

VALID = np.array([[True] * 5, [True, True, True, False, False], [True, False, True, True, True]])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 9), st.sampled_from([1.0, 3.0, 10.0, 50.0]))
def test_a_hit_is_a_list_that_fewer_than_k_percent_strictly_beat(values: list[int], own: int, percent: float) -> None:
    comparison = np.sort(np.array([values], np.float64), axis=1)
    count = sum(value > own for value in values)
    assert better(np.array([float(own)]), comparison).tolist() == [count]
    assert hits(np.array([float(own)]), comparison, percent).tolist() == [count / len(values) < percent / 100]


def test_equal_values_that_rounding_tells_apart_are_not_better() -> None:
    assert better(np.array([1.0]), np.array([[1.0, 1.0 + 1e-7, 1.1]])).tolist() == [1]


def test_exactly_k_percent_better_lists_are_no_hit() -> None:
    comparison = np.arange(100.0)[None]
    assert hits(np.array([98.0]), comparison, 1).tolist() == [False]
    assert hits(np.array([98.5]), comparison, 1).tolist() == [False]
    assert hits(np.array([99.0]), comparison, 1).tolist() == [True]


def test_a_request_counts_with_the_share_of_the_seeds_that_hit() -> None:
    comparison = np.tile(np.arange(100.0), (2, 1))
    runs = [np.array([99.0, 0.0]), np.array([0.0, 0.0])]
    assert hit_share(runs, comparison, 1).tolist() == [0.5, 0.0]
    assert hit_rate(runs, comparison, 1, seed=0).mean == 0.25
    with pytest.raises(ValueError, match="no runs"):
        hit_share([], comparison, 1)


def test_a_planner_does_not_differ_from_itself_and_a_better_one_differs_surely() -> None:
    comparison = np.tile(np.arange(100.0), (40, 1))
    rng = np.random.default_rng(0)
    some = rng.uniform(90, 100, 40)
    same = hit_difference([some], [some], comparison, 3, seed=0)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    surely = hit_difference([np.full(40, 99.5)], [np.full(40, 3.0)], comparison, 3, seed=0)
    assert (surely.mean, surely.low, surely.high) == (1.0, 1.0, 1.0)


def test_the_interval_of_a_difference_is_paired() -> None:
    comparison = np.tile(np.arange(100.0), (60, 1))
    hard = np.where(np.arange(60) % 2 == 0, 0.0, 99.0)  # both fail on the same half
    other = hard.copy()
    other[1] = 0.0
    interval = hit_difference([hard], [other], comparison, 1, seed=0)
    assert interval.mean == pytest.approx(1 / 60)
    assert interval.high - interval.low < 0.1  # unpaired, two rates near 0.5 of 60 requests would give about 0.36


def test_random_lists_are_valid_and_end_where_the_candidates_do() -> None:
    lists = random_lists(VALID, [0, 1, 2], 4, 200, seed=1)
    for row, (some, valid) in enumerate(zip(lists, VALID, strict=True)):
        size = min(4, int(valid.sum()))
        assert (some[:, size:] == -1).all()
        assert all(len(set(one[:size].tolist())) == size for one in some), row
        assert set(some[:, :size].ravel().tolist()) <= set(np.flatnonzero(valid).tolist())


def test_every_ordered_list_is_drawn_alike() -> None:
    lists = random_lists(VALID[:1], [0], 2, 20_000, seed=3)[0]
    counts = Counter(map(tuple, lists.tolist()))
    expected = 20_000 / perm(5, 2)
    assert len(counts) == perm(5, 2)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_the_lists_of_a_request_do_not_depend_on_the_others_drawn_with_it() -> None:
    together = random_lists(VALID, [0, 1, 2], 3, 50, seed=4)
    alone = random_lists(VALID[2:], [2], 3, 50, seed=4)
    np.testing.assert_array_equal(together[2:], alone)
    assert (random_lists(VALID, [0, 1, 2], 3, 50, seed=5) != together).any()


def test_optimality_is_zero_at_the_mean_one_at_the_best_and_one_where_nothing_can_be_gained() -> None:
    found = optimality(np.array([2.0, 4.0, 3.0, 1.0]), np.array([2.0, 2.0, 2.0, 1.0]), np.array([4.0, 4.0, 4.0, 1.0]))
    assert found.tolist() == [0.0, 1.0, 0.5, 1.0]


def _share(value: NDArray[np.float64]) -> float | None:
    """The order share of a judge that values item i at position j with value[i, j]."""
    n, length = value.shape
    valid = np.ones((3, n), bool)
    sets = permuted_sets(valid, [0, 1, 2], length, sets=40, orders=50, seed=0)
    spread = random_lists(valid, [0, 1, 2], length, 2000, seed=0)
    places = np.arange(length)
    return order_share(value[sets, places].sum(-1), value[spread, places].sum(-1))


def test_a_judge_that_adds_up_items_wherever_they_stand_has_no_order_share() -> None:
    assert _share(np.repeat(np.arange(6.0)[:, None], 3, axis=1)) == pytest.approx(0, abs=1e-12)


def test_a_judge_for_whom_only_order_counts_has_an_order_share_of_one() -> None:
    """With all candidates shown, every list is a permutation of one set."""
    rng = np.random.default_rng(2)
    assert _share(rng.normal(size=(4, 4))) == pytest.approx(1, abs=0.15)


def test_the_order_share_is_the_part_of_the_variance_within_sets() -> None:
    rng = np.random.default_rng(1)
    value = rng.normal(size=(5, 3))
    lists = np.array(list(permutations(range(5), 3)))
    totals = value[lists, np.arange(3)].sum(-1)
    groups: dict[frozenset[int], list[float]] = {}
    for one, total in zip(lists, totals, strict=True):
        groups.setdefault(frozenset(one.tolist()), []).append(total)
    exact = np.mean([np.var(v) for v in groups.values()]) / np.var(totals)
    assert _share(value) == pytest.approx(exact, rel=0.15)


def test_a_judge_that_finds_all_lists_equal_has_no_order_share() -> None:
    assert _share(np.ones((5, 3))) is None


def test_permuted_sets_hold_the_same_items_in_other_orders() -> None:
    sets = permuted_sets(VALID, [0, 1, 2], 4, sets=5, orders=30, seed=2)
    for request, valid in zip(sets, VALID, strict=True):
        size = min(4, int(valid.sum()))
        for orders in request:
            assert len({tuple(sorted(order.tolist())) for order in orders}) == 1
            assert len({tuple(order.tolist()) for order in orders}) > 1
            assert (orders[:, size:] == -1).all()
            assert (orders[:, :size] >= 0).all()


def test_permutations_of_a_list_hold_its_items_and_keep_its_end() -> None:
    lists = np.array([[3, 0, 2, 4], [1, 2, -1, -1]])
    permuted = permutations_of(lists, [0, 1], 300, seed=0)
    for one, some in zip(lists, permuted, strict=True):
        size = int((one >= 0).sum())
        assert {tuple(order) for order in some[:, :size].tolist()} == set(permutations(one[:size].tolist()))
        assert (some[:, size:] == -1).all()
