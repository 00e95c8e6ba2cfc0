"""Orders of logged lists and their measures, against cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.spec import OBJECTIVES
from models.evaluation.scoring import (
    ALL,
    LOGGED,
    RANDOM,
    RANKED,
    SHUFFLED,
    ComparedOrders,
    ListResult,
    neutral_order,
    request_body,
    score_list,
    sorted_order,
    summarise,
    weighted_interval,
)
from models.evaluation.tables import comparison_tables
from models.judging.metrics import mean_interval, ndcg
from tests.models.evaluation.lists import logged_list
from tests.models.tables import compact

AT_2, AT_3 = 1 / math.log2(3), 1 / math.log2(4)


def order(*places: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(places, np.int64)


def test_a_click_counts_by_the_rank_it_is_moved_to() -> None:
    result = score_list(logged_list([0, 1, 0]), {"ours": order(1, 0, 2), "worst": order(0, 2, 1)}, k=10, shuffled=None)
    assert result.ndcg["click"][LOGGED] == pytest.approx(AT_2)
    assert result.ndcg["click"]["ours"] == pytest.approx(1)
    assert result.ndcg["click"]["worst"] == pytest.approx(AT_3)


def test_ranks_past_k_bring_nothing() -> None:
    result = score_list(logged_list([0, 1, 0]), {"worst": order(0, 2, 1)}, k=2, shuffled=None)
    assert result.ndcg["click"]["worst"] == 0


def test_several_clicks_are_measured_against_their_best_order() -> None:
    result = score_list(logged_list([1, 0, 1]), {}, k=10, shuffled=None)
    assert result.ndcg["click"][LOGGED] == pytest.approx((1 + AT_3) / (1 + AT_2))


@given(clicks=st.lists(st.integers(0, 1), min_size=1, max_size=5).filter(any), k=st.integers(1, 6))
def test_random_is_the_mean_over_all_orders(clicks: list[int], k: int) -> None:
    gains = np.array(clicks, np.float64)
    every = [ndcg(gains[list(p)], k) for p in itertools.permutations(range(len(clicks)))]
    result = score_list(logged_list(clicks), {}, k=k, shuffled=None)
    assert result.ndcg["click"][RANDOM] == pytest.approx(np.mean([v for v in every if v is not None]))


def test_a_list_without_a_purchase_says_nothing_about_purchases() -> None:
    result = score_list(logged_list([1, 0], purchases=[0, 0]), {}, k=10, shuffled=None)
    assert set(result.ndcg) == {"click"}


def test_lists_are_counted_per_objective() -> None:
    records = [logged_list([1, 0], purchases=[1, 0]), logged_list([1, 0], purchases=[0, 0]), logged_list([0, 1])]
    results = [score_list(r, {"ours": order(0, 1)}, k=10, shuffled=None) for r in records]
    summary = summarise(results, _comparison("ours"), seed=0)
    assert list(summary) == [ALL]
    assert {name: part["lists"] for name, part in summary[ALL].items()} == {"click": 3, "conversion": 1, "gmv": 1}


def test_gmv_counts_a_list_by_its_money_and_purchases_do_not() -> None:
    cheap = logged_list([1, 0], purchases=[1, 0], price=[10.0, 10.0])
    dear = logged_list([0, 1], purchases=[0, 1], price=[90.0, 90.0])
    results = [score_list(r, {}, k=10, shuffled=None) for r in (cheap, dear)]
    summary = summarise(results, ComparedOrders((), dict.fromkeys(OBJECTIVES, LOGGED)), seed=0)[ALL]
    assert summary["conversion"]["ndcg"][LOGGED]["mean"] == pytest.approx((1 + AT_2) / 2)
    assert summary["gmv"]["ndcg"][LOGGED]["mean"] == pytest.approx((10 + 90 * AT_2) / 100)
    heads = comparison_tables({ALL: summary}).splitlines()[2]
    assert "| purchases (2 lists) |" in compact(heads)
    assert "| GMV, weighted by money (2 lists) |" in compact(heads)


def test_differences_are_taken_list_by_list() -> None:
    rows = [("a", 0.9, 0.4), ("b", 0.7, 0.2), ("c", 0.6, 0.1)]
    results = [
        ListResult(name, None, {"click": 1.0}, {"click": {LOGGED: theirs, "sort": theirs, "ours": ours, RANDOM: 0.0}})
        for name, ours, theirs in rows
    ]
    summary = summarise(results, ComparedOrders(("ours",), {"click": "sort"}), seed=0)[ALL]["click"]
    for rival in ("prior", "shown"):
        row = summary["differences"]["ours"][rival]
        # Every list gains 0.5, so resampling cannot move it, though the two means themselves vary.
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert summary["ndcg"]["ours"]["low"] < summary["ndcg"]["ours"]["high"]


def test_lists_shown_in_random_order_are_told_apart() -> None:
    record = logged_list([0, 1])
    results = [score_list(record, {"ours": order(0, 1)}, k=10, shuffled=s) for s in (True, False, False)]
    summary = summarise(results, _comparison("ours"), seed=0)
    assert {group: parts["click"]["lists"] for group, parts in summary.items()} == {ALL: 3, SHUFFLED: 1, RANKED: 2}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.5, 100))
def test_with_equal_weights_the_interval_is_that_of_the_mean(values: list[float], weight: float) -> None:
    array = np.array(values)
    plain, weighted = mean_interval(array, seed=3), weighted_interval(array, np.full(len(array), weight), seed=3)
    assert (weighted.mean, weighted.low, weighted.high) == pytest.approx((plain.mean, plain.low, plain.high), abs=1e-9)


def test_no_lists_have_no_interval() -> None:
    with pytest.raises(ValueError, match="no lists"):
        weighted_interval(np.array([]), np.array([]), seed=0)


def test_a_sort_orders_by_its_formula() -> None:
    record = logged_list([0, 0, 1], ctr=[0.1, 0.3, 0.2], price=[90.0, 1.0, 10.0])
    start = neutral_order(record, seed=0)
    assert sorted_order(record, "ctr", start).tolist() == [1, 2, 0]
    assert sorted_order(record, "ctr*price", start).tolist() == [0, 2, 1]


def test_a_sort_says_which_item_lacks_the_score() -> None:
    record = logged_list([1], name="r-7")
    with pytest.raises(ValueError, match=r"list 'r-7': item 'a' has no 'quality', which ctr\*quality needs"):
        sorted_order(record, "ctr*quality", order(0))


def test_a_sort_refuses_values_that_cannot_be_ordered() -> None:
    record = logged_list([1, 0], ctr=[0.2, 0.0])
    with pytest.raises(ValueError, match="1/ctr is not finite for item 'b'"):
        sorted_order(record, "1/ctr", order(0, 1))


def test_ties_do_not_keep_the_order_that_was_shown() -> None:
    records = [logged_list([1, *[0] * 19], name=f"r-{i}") for i in range(300)]
    results = []
    for record in records:
        start = neutral_order(record, seed=0)
        results.append(score_list(record, {"sort": sorted_order(record, "ctr", start)}, k=10, shuffled=None))
    random = np.mean([r.ndcg["click"][RANDOM] for r in results])
    assert np.mean([r.ndcg["click"]["sort"] for r in results]) == pytest.approx(random, abs=0.06)
    assert np.mean([r.ndcg["click"][LOGGED] for r in results]) == 1


def test_a_request_holds_what_was_shown_and_no_label() -> None:
    record = logged_list([0, 1, 0], purchases=[0, 1, 0])
    body = request_body(record, order(2, 0, 1), {"timeout_ms": 5})
    assert [c["id"] for c in body["candidates"]] == ["c", "a", "b"]
    assert body["top_n"] == 3
    assert set(body) == {"request_id", "user", "context", "candidates", "top_n", "timeout_ms"}
    assert set(body["candidates"][0]) == {"id", "scores", "features", "price"}


def test_the_order_that_is_sent_depends_on_seed_and_list_only() -> None:
    one, same, other = (logged_list([1, *[0] * 9], name=n) for n in ("x", "x", "y"))
    assert neutral_order(one, seed=1).tolist() == neutral_order(same, seed=1).tolist()
    assert neutral_order(one, seed=1).tolist() != neutral_order(one, seed=2).tolist()
    assert neutral_order(one, seed=1).tolist() != neutral_order(other, seed=1).tolist()
    assert sorted(neutral_order(one, seed=1).tolist()) == list(range(10))


def _comparison(*served: str) -> ComparedOrders:
    return ComparedOrders(served, dict.fromkeys(OBJECTIVES, LOGGED))
