"""How much two lists agree, against SciPy's τ and by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from service.ranking.shadow import kendall_tau, overlap

lists = st.lists(st.integers(0, 15), min_size=1, max_size=12, unique=True)
EXACT = 1e-12


def reference(first: list[int], second: list[int]) -> float:
    """SciPy's τ-b of the ranks, those of a list being 1, 2, …, and all that it lacks sharing one behind them."""
    union = sorted({*first, *second})
    ranks = [[r.index(item) + 1 if item in r else 1000 for item in union] for r in (first, second)]
    return float(kendalltau(*ranks, variant="b").statistic)


@given(first=lists, second=lists)
def test_tau_is_scipys_over_the_union(first: list[int], second: list[int]) -> None:
    found = kendall_tau(first, second)
    if len({*first, *second}) == 1:  # There is no pair, and SciPy says NaN.
        assert found == 1
    else:
        assert found == pytest.approx(reference(first, second), rel=0, abs=EXACT)


@given(first=lists, data=st.data())
def test_tau_of_one_set_in_two_orders_is_the_plain_one(first: list[int], data: st.DataObject) -> None:
    second = data.draw(st.permutations(first))
    pairs = [(a, b) for a, b in permutations(first, 2) if first.index(a) < first.index(b)]
    kept = sum(second.index(a) < second.index(b) for a, b in pairs)
    if pairs:
        assert kendall_tau(first, second) == pytest.approx((2 * kept - len(pairs)) / len(pairs), rel=0, abs=EXACT)


@given(first=lists, second=lists)
def test_tau_is_symmetric_and_exactly_one_for_the_same_list_only(first: list[int], second: list[int]) -> None:
    tau = kendall_tau(first, second)
    assert tau == kendall_tau(second, first)
    assert -1 <= tau <= 1
    assert kendall_tau(first, list(first)) == 1.0
    if len(first) == len(second) and first != second:
        assert tau < 1


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_lists_without_a_common_item(n: int) -> None:
    found = kendall_tau(range(n), range(n, 2 * n))
    assert found == pytest.approx(float(Fraction(-2 * n, 3 * n - 1)), rel=0, abs=EXACT)


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ("abcd", "dcba", -1.0),
        ("abcd", "abdc", 2 / 3),
        # a, b against a, c: a before b and a before c in both; b before c in one, c before b in the other.
        ("ab", "ac", 1 / 3),
        # Longer by an item that the other lacks: that pair is in order in both.
        ("a", "ab", 1.0),
        # In the first b and c are tied behind a: two pairs agree, and one has an order in the second only.
        ("a", "abc", 2 / math.sqrt(6)),
    ],
)
def test_tau_by_hand(first: str, second: str, tau: float) -> None:
    assert kendall_tau(first, second) == pytest.approx(tau, rel=0, abs=EXACT)


@pytest.mark.parametrize(("first", "second"), [("", "a"), ("a", ""), ("", "")])
def test_an_empty_list_has_no_tau(first: str, second: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        kendall_tau(first, second)


@given(first=lists, second=lists, k=st.integers(1, 12))
def test_overlap_counts_one_by_one(first: list[int], second: list[int], k: int) -> None:
    common = sum(1 for a in first[:k] for b in second[:k] if a == b)
    assert overlap(first, second, k) == common / k
    assert overlap(second, first, k) == overlap(first, second, k)
