"""Measures against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.judging import metrics

small = st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 2)), min_size=1, max_size=30)


@given(small)
def test_r_auc_is_the_share_of_unequal_pairs_in_the_right_order(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(x, float) for x in zip(*pairs, strict=True))
    unequal = [(i, j) for i in range(len(pairs)) for j in range(len(pairs)) if truth[i] > truth[j]]
    right = sum(predicted[i] > predicted[j] for i, j in unequal)
    expected = pytest.approx(right / len(unequal)) if unequal else None
    assert metrics.r_auc(predicted, truth) == expected


def test_r_auc_of_two_classes_without_ties_is_the_auc() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=3000), rng.random(3000) < 0.2
    assert metrics.r_auc(scores, positive.astype(float)) == pytest.approx(metrics.auc(scores, positive))


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_auc_of_one_class_is_undefined(positive: list[bool]) -> None:
    assert metrics.auc(np.array([0.1, 0.2]), np.array(positive)) is None


def test_calibration_and_error() -> None:
    predicted, truth = np.array([1.0, 2.0]), np.array([1.0, 3.0])
    assert metrics.pcoc(predicted, truth) == pytest.approx(3 / 4)
    assert metrics.rmse(predicted, truth) == pytest.approx(math.sqrt(0.5))
    assert metrics.pcoc(predicted, np.zeros(2)) is None


def test_ndcg_discounts_by_rank_and_compares_with_the_best_order() -> None:
    gains = np.array([0.0, 2.0, 0.0, 1.0])
    best = 2 + 1 / math.log2(3)
    assert metrics.ndcg(gains, 10) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / best)
    assert metrics.ndcg(gains, 2) == pytest.approx(2 / math.log2(3) / best)
    assert metrics.ndcg(np.array([2.0, 1.0, 0.0]), 3) == pytest.approx(1.0)
    assert metrics.ndcg(np.zeros(3), 3) is None


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = metrics.mean_interval(rng.exponential(size=100), seed=trial, draws=400)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_is_seeded_and_its_level_widens_it() -> None:
    values = np.random.default_rng(1).normal(size=50)
    narrow = metrics.mean_interval(values, seed=0, level=0.8)
    wide = metrics.mean_interval(values, seed=0, level=0.99)
    assert narrow == metrics.mean_interval(values, seed=0, level=0.8)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert narrow.lists == 50


def test_pairing_finds_a_small_difference_that_two_intervals_would_hide() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=200)
    ours = theirs + 0.05 + 0.1 * rng.normal(size=200)
    assert metrics.paired_interval(ours, theirs, seed=0).low > 0
    a, b = metrics.mean_interval(ours, seed=0), metrics.mean_interval(theirs, seed=0)
    assert a.low < b.high


def test_one_list_and_none_and_unequal_numbers_of_lists() -> None:
    assert metrics.mean_interval(np.array([2.0]), seed=0) == metrics.Interval(2.0, 2.0, 2.0, 1)
    with pytest.raises(ValueError, match="no lists"):
        metrics.mean_interval(np.array([]), seed=0)
    with pytest.raises(ValueError, match="cannot pair 2 lists with 3"):
        metrics.paired_interval(np.zeros(2), np.zeros(3), seed=0)
