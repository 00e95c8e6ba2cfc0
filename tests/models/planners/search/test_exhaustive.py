"""The exhaustive search against a search written another way, and as a ceiling of the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.planners.references.sort_gen import Preferences, Scorer, plan_queues
from models.planners.search.exhaustive import all_lists, best_list

Floats = NDArray[np.float64]
TOO_MANY = "20 candidates have 670,442,572,800 lists of 10, and at most 5,000,000 are compared"
SIZES = st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, min(n, 4))))
WISH = Preferences(weights=(5.0, 1.0, 2.0), units=(0.5, 0.1, 3.0))


class World:
    """Every item is worth something of its own, and more or less behind every other."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.own = rng.normal(size=(n, 3))
        self.behind = rng.normal(size=(n, n, 3))

    def gain(self, chosen: Sequence[int], item: int) -> Floats:
        total: Floats = self.own[item] + sum((self.behind[item, c] for c in chosen), np.zeros(3))
        return total

    def gains(self, chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        return np.array([self.gain(chosen, c) for c in candidates])

    def value(self, slots: Sequence[int]) -> Floats:
        return sum((self.gain(slots[:i], slot) for i, slot in enumerate(slots)), np.zeros(3))

    def values(self, lists: NDArray[np.int64]) -> Floats:
        return np.array([self.value(row) for row in lists.tolist()])


def worth(world: World, slots: Sequence[int]) -> float:
    return float(WISH.step_value(world.value(slots)))


def search(world: World, n: int, m: int) -> float:
    """The best list's worth, by counting in base n and skipping what repeats itself."""
    return max(worth(world, digits) for digits in product(range(n), repeat=m) if len(set(digits)) == m)


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 10**6))
def test_no_list_is_worth_more_than_the_best_one(sizes: tuple[int, int], seed: int) -> None:
    world = World(sizes[0], seed)
    best = best_list(world.values, *sizes, WISH).tolist()
    assert len(set(best)) == sizes[1]
    assert worth(world, best) == pytest.approx(search(world, *sizes))


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 10**6), width=st.integers(1, 5))
def test_greedy_never_beats_it(sizes: tuple[int, int], seed: int, width: int) -> None:
    n, m = sizes
    world = World(n, seed)
    nowhere = np.zeros((n, 1), np.float32)
    steps = plan_queues(Scorer(world.gains, nowhere, WISH), [list(range(n))], length=m, head_width=width)
    best = best_list(world.values, n, m, WISH).tolist()
    assert worth(world, [s.slot for s in steps]) <= worth(world, best) + 1e-9


def test_where_items_do_not_influence_each_other_greedy_finds_it() -> None:
    world = World(6, 0)
    world.behind[:] = 0
    nowhere = np.zeros((6, 1), np.float32)
    steps = plan_queues(Scorer(world.gains, nowhere, WISH), [list(range(6))], length=3, head_width=6)
    best = best_list(world.values, 6, 3, WISH).tolist()
    assert sorted(s.slot for s in steps) == sorted(best)


def test_the_first_of_equals_is_taken() -> None:
    assert best_list(lambda lists: np.ones((len(lists), 3)), 4, 2, WISH).tolist() == [0, 1]


def test_all_lists_are_every_ordered_choice_once_and_cannot_be_changed() -> None:
    lists = all_lists(5, 3)
    assert lists.shape == (60, 3)
    assert len({tuple(row) for row in lists.tolist()}) == 60
    assert all(len(set(row)) == 3 and set(row) <= set(range(5)) for row in lists.tolist())
    with pytest.raises(ValueError, match="read-only"):
        lists[0, 0] = 9


def test_more_lists_than_memory_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=TOO_MANY):
        all_lists(20, 10)
