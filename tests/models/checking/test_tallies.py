"""Tallies count values exactly while these are few, and stay small when they are many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models.checking.tallies import RangeTally, ValueTally, alike
from models.data.fitting.moments import Sample


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


def test_tallies_of_parts_join_to_one_of_all() -> None:
    parts = [pa.array([1, 2, 2, None]), pa.array([], pa.int64()), pa.array([2.0, 3.5]), pa.array([2.0, 8.0])]
    whole, joint = ValueTally(), ValueTally()
    for first, part in enumerate(parts):
        own = ValueTally(first=first << 20)
        for tally in (whole, own):
            tally.add(part)
        joint.extend(own)
    for name in ("present", "whole", "numeric_text", "distinct", "exact", "type"):
        assert getattr(joint, name) == getattr(whole, name)
    assert joint.frequent() == whole.frequent() == [(2.0, 4), (1.0, 1), (3.5, 1), (8.0, 1)]
    assert joint.share_outside(("2",)) == whole.share_outside(("2",))
    for name in ("low", "high", "mean", "median", "zeros", "outside_unit"):
        assert getattr(joint.numbers, name) == getattr(whole.numbers, name)


def test_frequent_values_of_parts_survive_among_many_rare_ones() -> None:
    joint = ValueTally(kept=100)
    for part in range(20):
        own = ValueTally(kept=100)
        own.add(pa.array([*(f"r{part}-{i}" for i in range(300)), *["common"] * 3]))
        joint.extend(own)
    assert joint.frequent()[0] == ("common", 60)
    assert (joint.distinct, len(joint.frequent()) <= 100) == (6001, True)


def test_samples_of_parts_join_to_a_bounded_sample_of_all() -> None:
    numbers, joint, whole = np.arange(10_000.0), Sample(500), Sample(500)
    for begin, end in ((0, 3000), (3000, 3001), (3001, 10_000)):
        own = Sample(500, begin)
        for sample in (own, whole):
            sample.add(numbers[begin:end])
        joint.extend(own)
    assert len(joint) == len(whole) <= 500
    assert joint.median() == whole.median() == pytest.approx(5000, rel=0.02)


def test_texts_that_look_alike_are_paired() -> None:
    assert alike(["Paris", "Rome", "PARIS ", "New  York", "new york", 3]) == [
        ("Paris", "PARIS "),
        ("New  York", "new york"),
    ]


def test_64_bit_integers_are_counted_apart_and_summed_as_floats() -> None:
    tally = ValueTally()
    tally.add(pa.array([2**62, 2**62 + 1, None, 2**62 + 1]))
    assert (tally.present, tally.distinct, tally.whole) == (3, 2, True)
    assert tally.frequent()[0] == (2**62 + 1, 2)
    assert tally.numbers.high == 2.0**62
    tally.add(pa.array([0.5]))
    assert (tally.present, tally.numbers.low) == (4, 0.5)
