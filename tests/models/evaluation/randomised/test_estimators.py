"""Estimates from lists in random order are exact on a log that holds every order once, as far as they say they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.randomised import estimators
from models.evaluation.randomised.estimators import (
    CASCADE,
    FEWEST,
    ITEM,
    PAIR,
    PLAN,
    SORT,
    STRATA,
    Resampled,
    Shown,
    compare_orders,
    strata_of,
    stratum_counts,
)
from models.judging.metrics import mean_interval

PLANNED, SORTED = (3, 1, 4, 0), (0, 1, 2, 3)
ITEMS = 5
Outcome = Callable[[Sequence[int]], float]
"""What the last of the items brings, given those before it."""


@pytest.fixture(autouse=True)
def any_number_of_agreements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "FEWEST", 1)


def log(outcome: Outcome, *, lists: Sequence[Sequence[int]] | None = None, places: int = 4) -> Shown:
    """Every order of five items once, or the given lists; items are numbered by their score, best first."""
    shown = np.array(list(permutations(range(ITEMS))) if lists is None else lists)
    outcomes = np.array([[[outcome(row[: j + 1])] for j in range(places)] for row in shown.tolist()])
    wanted = {PLAN: np.array(PLANNED[:places]), SORT: np.array(SORTED[:places])}
    sizes = np.full(len(shown), ITEMS)
    return Shown(
        sizes,
        strata_of(shown[:, :places], sizes[:, None]),
        outcomes,
        {name: shown[:, :places] == order for name, order in wanted.items()},
    )


def value(order: Sequence[int], outcome: Outcome) -> float:
    return sum(outcome(order[: j + 1]) for j in range(len(order)))


def estimates(shown: Shown, depths: Sequence[int] = (1, 2, 3)) -> dict[tuple[str, int], dict[str, Any]]:
    """Estimator and places to its outcomes."""
    rows = compare_orders(shown, ["y"], depths, seed=0, draws=20)
    return {(row["estimator"], row["places"]): row["outcomes"]["y"] for row in rows}


def by_place(items: Sequence[int]) -> float:
    return (1 + items[-1]) / (1 + len(items))


def by_neighbour(items: Sequence[int]) -> float:
    return by_place(items) + (items[-2] ** 2 if len(items) > 1 else 0)


def by_all_before(items: Sequence[int]) -> float:
    return by_place(items) * (1 + sum(items[:-1]))


def test_where_item_and_place_are_all_every_version_is_exact() -> None:
    found = estimates(log(by_place))
    for name, order in ((PLAN, PLANNED), (SORT, SORTED)):
        for kind in (ITEM, PAIR):
            assert found[kind, 4][name]["mean"] == pytest.approx(value(order, by_place))
        for depth in (1, 2, 3):
            assert found[CASCADE, depth][name]["mean"] == pytest.approx(value(order[:depth], by_place))
    difference = found[ITEM, 4]["difference"]
    assert difference["mean"] == pytest.approx(value(PLANNED, by_place) - value(SORTED, by_place))
    assert difference["low"] <= difference["mean"] <= difference["high"]


def test_where_neighbours_matter_the_pair_is_exact_and_the_item_alone_is_not() -> None:
    found = estimates(log(by_neighbour))
    assert found[PAIR, 4][PLAN]["mean"] == pytest.approx(value(PLANNED, by_neighbour))
    assert found[CASCADE, 2][PLAN]["mean"] == pytest.approx(value(PLANNED[:2], by_neighbour))
    # The item alone sees the mean neighbour of every place behind the first.
    mean_before = [np.mean([i**2 for i in range(ITEMS) if i != item]) for item in PLANNED[1:]]
    assert found[ITEM, 4][PLAN]["mean"] == pytest.approx(value(PLANNED, by_place) + sum(mean_before))


def test_where_all_items_before_matter_the_cascade_is_exact_and_the_pair_is_not() -> None:
    found = estimates(log(by_all_before))
    assert found[CASCADE, 3][PLAN]["mean"] == pytest.approx(value(PLANNED[:3], by_all_before))
    assert found[PAIR, 4][PLAN]["mean"] != pytest.approx(value(PLANNED, by_all_before), rel=1e-3)


def test_orders_that_favour_some_items_are_allowed_for() -> None:
    every = list(permutations(range(ITEMS)))
    lists = [order for order in every for _ in range(4 if order[0] == 3 else 1)]
    shown = log(by_place, lists=lists)
    rows = compare_orders(shown, ["y"], [1], seed=0, draws=20)
    assert rows[0]["outcomes"]["y"][PLAN]["mean"] == pytest.approx(value(PLANNED, by_place))
    assert rows[0]["weights"] == pytest.approx({PLAN: 1.0, SORT: 1.0})
    assert shown.likelihood()[lists.index((3, 0, 1, 2, 4)), 0] == pytest.approx(4 * 5 / 8)


def test_a_log_of_all_orders_favours_none_and_its_weights_add_up_to_one() -> None:
    shown = log(by_place)
    np.testing.assert_allclose(shown.likelihood(), 1)
    for row in compare_orders(shown, ["y"], [1, 2], seed=0, draws=5):
        assert row["weights"] == pytest.approx({PLAN: 1.0, SORT: 1.0})


def test_lists_that_end_early_count_as_far_as_they_go() -> None:
    long, short = log(by_place), list(permutations(range(2)))
    sizes = np.concatenate([long.sizes, np.full(len(short) * 30, 2)])

    def pad(rows: NDArray[Any], value: float) -> NDArray[Any]:
        few = np.repeat(rows, 30, axis=0)
        rest = np.full((len(few), 2, *few.shape[2:]), value, few.dtype)
        return np.concatenate([few, rest], axis=1)

    items = np.array(short)
    outcomes = np.array([[[by_place(row[: j + 1])] for j in range(2)] for row in items.tolist()])
    agreement = {
        PLAN: np.concatenate([long.agreement[PLAN], pad(items == [1, 0], False)]),
        SORT: np.concatenate([long.agreement[SORT], pad(items == [0, 1], False)]),
    }
    shown = Shown(
        sizes,
        np.concatenate([long.strata, pad(strata_of(items, np.array(2)), -1)]),
        np.concatenate([long.outcomes, pad(outcomes, 0.0)]),
        agreement,
    )
    found = estimates(shown, depths=(1, 3))
    shares = np.array([120, 60]) / 180
    assert found[CASCADE, 3][PLAN]["mean"] == pytest.approx(
        np.array([value(PLANNED[:3], by_place), value((1, 0), by_place)]) @ shares, rel=0.05
    )
    assert shown.places.tolist() == [4] * 120 + [2] * 60


def test_too_few_agreements_give_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "FEWEST", FEWEST)
    found = estimates(log(by_place))  # 24 lists agree at a place, so 96 agreements on four places
    assert found[ITEM, 4] == {PLAN: None, SORT: None, "difference": None}
    more = estimates(log(by_place, lists=list(permutations(range(ITEMS))) * 2))
    assert more[ITEM, 4][PLAN] is not None
    assert more[PAIR, 4][PLAN] is None


@pytest.mark.parametrize("size", [1, 2, 4, 5, 7, 38])
def test_strata_are_equal_parts_of_a_list(size: int) -> None:
    strata = strata_of(np.arange(size), np.array(size))
    counts = np.bincount(strata, minlength=STRATA)
    assert stratum_counts(np.array([size]))[0].tolist() == counts.tolist()
    assert (np.diff(strata) >= 0).all()
    assert size < STRATA or counts.max() - counts.min() <= 1


def test_intervals_are_those_of_resampled_lists() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    resampled = Resampled({"y": values, "1": np.ones(300)}, seed=0)
    found, expected = resampled.interval(lambda t: t["y"] / t["1"]), mean_interval(values, seed=0)
    assert found.mean == pytest.approx(expected.mean)
    assert found.lists == 300
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.02)
    assert resampled.total("1") == 300
    with pytest.raises(ValueError, match="no lists"):
        Resampled({"y": values[:0]}, seed=0)
