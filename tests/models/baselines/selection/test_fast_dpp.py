"""The DPP's fast inference chooses as a greedy search over determinants does, and copes with equal items."""

from __future__ import annotations

import numpy as np
import pytest

from models.baselines.selection.fast_dpp import fast_dpp
from models.baselines.selection.items import ScoredItems, sort_items
from tests.models.baselines.selection.items import one_request, random_requests

EAST, NORTH, SOUTH = [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]


def by_determinants(items: ScoredItems, request: int, length: int, theta: float, window: int | None) -> list[int]:
    """Take at every step the item with which the kernel of the window has the largest determinant."""
    count = int(items.present[request].sum())
    rows = items.unit[request, :count]
    quality = np.exp(theta / (2 * (1 - theta)) * items.relevance[request, :count])
    similarity = (1 + rows @ rows.T) / 2
    np.fill_diagonal(similarity, 1.0)
    kernel = quality[:, None] * similarity * quality[None, :]
    chosen: list[int] = []
    while len(chosen) < min(length, count):
        before = chosen if window is None else chosen[max(0, len(chosen) - window) :]
        left = [i for i in range(count) if i not in chosen]
        sets = [[*before, i] for i in left]
        sizes = [np.linalg.slogdet(kernel[np.ix_(some, some)])[1] for some in sets]
        chosen.append(left[int(np.argmax(sizes))])
    return chosen


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("window", [None, 0, 1, 3])
def test_it_chooses_as_a_search_over_determinants(theta: float, window: int | None) -> None:
    items = random_requests([12, 9, 12, 7], width=14, without=0.1, seed=3)
    lists = fast_dpp(items, 6, theta, window)
    assert lists.tolist() == [by_determinants(items, r, 6, theta, window) for r in range(4)]


def test_a_window_that_holds_the_whole_list_changes_nothing_and_an_empty_one_sorts() -> None:
    items = random_requests([10] * 5, width=12, seed=4)
    np.testing.assert_array_equal(fast_dpp(items, 8, 0.6, 7), fast_dpp(items, 8, 0.6))
    np.testing.assert_array_equal(fast_dpp(items, 8, 0.6, 0), sort_items(items, 8))


def test_equal_items_come_last_by_relevance_and_are_never_chosen_twice() -> None:
    items = one_request([3.0, 2.9, 2.8, 1.0, 0.5], [EAST, EAST, EAST, NORTH, SOUTH])
    assert fast_dpp(items, 5, 0.3).tolist() == [[0, 3, 4, 1, 2]]
    alike = one_request([1.0] * 4, [EAST] * 4)
    assert fast_dpp(alike, 4, 0.5).tolist() == [[0, 1, 2, 3]]
    assert fast_dpp(alike, 4, 0.5, 1).tolist() == [[0, 1, 2, 3]]


def test_without_embeddings_it_sorts() -> None:
    items = random_requests([8, 8], without=1.0, seed=5)
    np.testing.assert_array_equal(fast_dpp(items, 5, 0.4), sort_items(items, 5))


def test_fewer_candidates_than_places_end_the_list_and_long_lists_stay_exact() -> None:
    short = fast_dpp(random_requests([2, 5], seed=6), 4, 0.5)
    assert (short[0] >= 0).tolist() == [True, True, False, False]
    assert (short[1] >= 0).all()
    items = random_requests([60], width=3, seed=7)  # of rank 4: the rest is filled
    chosen = fast_dpp(items, 50, 0.5)[0]
    assert len(set(chosen.tolist())) == 50
    rest = items.relevance[0, chosen[4:]]
    assert (np.diff(rest) <= 0).all()


def test_huge_relevance_does_not_overflow() -> None:
    items = one_request([1e6, 2e6, -1e6, 5.0], [EAST, NORTH, SOUTH, EAST])
    assert fast_dpp(items, 3, 0.999).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize(
    ("theta", "window", "problem"), [(0.0, None, "θ"), (1.0, None, "θ"), (np.nan, None, "θ"), (0.5, -1, "window")]
)
def test_settings_outside_their_range_are_named(theta: float, window: int | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        fast_dpp(random_requests([3]), 2, theta, window)
