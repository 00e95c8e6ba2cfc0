"""MMR over many requests chooses as the service does for one, and as its rule says."""

from __future__ import annotations

import numpy as np
import pytest

from models.baselines.selection.items import sort_items
from models.baselines.selection.mmr import greedy_mmr
from service.ranking.fallback import maximal_marginal_relevance
from tests.models.baselines.selection.items import one_request, random_requests

EAST, NORTH, UP = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("window", [None, 0, 1, 3])
@pytest.mark.parametrize("without", [0.0, 0.4])
def test_it_chooses_as_the_service_does(trade_off: float, window: int | None, without: float) -> None:
    counts = [12, 5, 9, 12]
    items = random_requests(counts, without=without, seed=1)
    lists = greedy_mmr(items, 7, trade_off, window)
    for row, count in enumerate(counts):
        alone = maximal_marginal_relevance(
            items.relevance[row, :count].copy(),
            items.unit[row, :count].astype(np.float32),
            trade_off,
            7 if window is None else window,
            7,
        )
        assert lists[row].tolist() == [*alone, *[-1] * (7 - len(alone))]


def test_a_like_item_waits_and_a_window_forgets() -> None:
    items = one_request([1.0, 0.9, 0.5, 0.4], [EAST, EAST, NORTH, UP])
    assert greedy_mmr(items, 4, 0.5).tolist() == [[0, 2, 3, 1]]
    assert greedy_mmr(items, 4, 0.5, 1).tolist() == [[0, 2, 1, 3]]
    np.testing.assert_array_equal(greedy_mmr(items, 4, 1.0), sort_items(items, 4))


def test_a_relevance_that_is_not_finite_comes_last() -> None:
    items = one_request([np.nan, 1.0, -np.inf, 2.0], [EAST, EAST, NORTH, UP])
    assert sort_items(items, 4).tolist() == [[3, 1, 0, 2]]
    assert greedy_mmr(items, 4, 0.9)[0, :2].tolist() == [3, 1]
    assert sorted(greedy_mmr(items, 4, 0.9)[0].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("trade_off", "window"), [(-0.1, None), (1.1, None), (np.nan, None), (0.5, -1)])
def test_settings_outside_their_range_are_named(trade_off: float, window: int | None) -> None:
    with pytest.raises(ValueError, match="MMR"):
        greedy_mmr(random_requests([3]), 2, trade_off, window)
