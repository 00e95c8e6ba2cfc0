"""Tallies count values exactly while these are few, and stay small when they are many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models.checking.tallies import RangeTally, ValueTally, alike


def test_frequent_values_survive_among_many_rare_ones() -> None:
    tally = ValueTally(kept=100)
    for begin in range(0, 5000, 500):
        rare = [f"r{i}" for i in range(begin, begin + 500)]
        tally.add(pa.array([*rare, *["common"] * 300, None]))
    assert tally.present == 8000
    assert tally.distinct == 5001
    assert tally.frequent()[0] == ("common", 3000)
    assert len(tally.frequent()) <= 100
    assert tally.share_outside(("common",)) == pytest.approx(5000 / 8000)


def test_windows_of_other_types_are_joined() -> None:
    tally = ValueTally()
    tally.add(pa.array([1, 2, 2]))
    tally.add(pa.array([2.0, None, 3.5]))
    assert (tally.present, tally.whole, tally.holds_text) == (5, False, False)
    tally.add(pa.array(["2", "x"]))
    assert tally.holds_text
    assert dict(tally.frequent())["2"] == 4
    assert tally.share_outside(("2",)) == pytest.approx(3 / 7)


def test_fractions_are_no_longer_counted_one_by_one_once_there_are_many() -> None:
    tally = ValueTally(kept=50)
    for seed in range(5):
        tally.add(pa.array(np.random.default_rng(seed).random(100)))
    assert (tally.present, tally.exact) == (500, False)
    assert 50 < tally.distinct <= 200
    assert 0 < tally.numbers.low < tally.numbers.high < 1


def test_a_median_of_very_many_numbers_is_that_of_a_sample() -> None:
    tally = RangeTally()
    for begin in range(0, 1_000_000, 100_000):
        tally.add(pa.array(np.arange(begin, begin + 100_000, dtype=np.float64)))
    assert tally.median == pytest.approx(500_000, rel=0.01)
    assert len(tally._sample) <= 1 << 17
    assert (tally.low, tally.high, tally.mean) == (0, 999_999, 499_999.5)


def test_texts_that_look_alike_are_paired() -> None:
    assert alike(["Paris", "Rome", "PARIS ", "New  York", "new york", 3]) == [
        ("Paris", "PARIS "),
        ("New  York", "new york"),
    ]
