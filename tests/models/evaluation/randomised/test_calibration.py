"""What comes true of what a model promises: slopes worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.randomised.calibration import calibration, within_products

LISTS, PLACES = 300, 4
Floats = NDArray[np.float64]
SLOPES = ("slope", "context_slope", "within_slope", "within_context_slope")


@pytest.fixture(scope="module")
def parts() -> tuple[Floats, Floats]:
    """What is promised of each item alone, and what the context adds, [LISTS, PLACES]."""
    alone, added = np.random.default_rng(0).uniform(0.1, 1.0, size=(2, LISTS, PLACES))
    return alone, added - 0.5


def found(predicted: Floats, alone: Floats, realised: Floats, there: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    there = np.ones(predicted.shape, bool) if there is None else there
    totals = [(values * there).sum(axis=1) for values in (predicted, alone, realised)]
    products = within_products(predicted, alone, realised, there)
    row = calibration(totals[0], totals[1], totals[2], products, seed=0)
    assert row is not None
    return row


def test_a_promise_of_which_half_comes_true(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    row = found(alone + added, alone, 0.2 + 0.5 * (alone + added))
    for name in SLOPES:
        assert [row[name][k] for k in ("mean", "low", "high")] == pytest.approx([0.5] * 3)
    assert row["ratio"]["mean"] == pytest.approx((0.2 + 0.5 * (alone + added)).sum() / (alone + added).sum())


def test_a_context_that_matters_twice_as_much_as_promised(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    row = found(alone + added, alone, alone + 2 * added)
    assert row["context_slope"]["mean"] == pytest.approx(2)
    assert row["within_context_slope"]["mean"] == pytest.approx(2)
    assert 1 < row["slope"]["mean"] < 2
    assert 1 < row["within_slope"]["mean"] < 2


def test_differences_between_lists_do_not_reach_the_slope_within_them(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    level = np.random.default_rng(1).uniform(0, 5, size=(LISTS, 1))
    row = found(alone + added + level, alone + level, alone + added)
    assert row["within_slope"]["mean"] == pytest.approx(1)
    assert row["slope"]["mean"] < 0.3


def test_places_past_the_end_of_a_list_do_not_count(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    there = np.arange(PLACES) < np.random.default_rng(2).integers(2, PLACES + 1, size=(LISTS, 1))
    nonsense = np.where(there, 0.7 * (alone + added), 99.0)
    row = found(alone + added, alone, nonsense, there)
    assert row["within_slope"]["mean"] == pytest.approx(0.7)
    assert row["within_context_slope"]["mean"] == pytest.approx(0.7)


def test_noise_has_a_slope_of_zero_within_its_interval(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    row = found(alone + added, alone, np.random.default_rng(3).uniform(size=alone.shape))
    for name in SLOPES:
        assert row[name]["low"] < 0 < row[name]["high"]
        assert row[name]["high"] - row[name]["low"] < 0.5


def test_without_a_context_there_is_no_slope_on_it(parts: tuple[Floats, Floats]) -> None:
    alone, added = parts
    row = found(alone, alone, alone + added)
    assert row["context_slope"] is None
    assert row["within_context_slope"] is None
    assert row["within_slope"]["mean"] == pytest.approx(1, abs=0.2)


def test_a_slope_needs_events_and_different_promises() -> None:
    varied, nothing = np.arange(12.0).reshape(3, 4), np.zeros((3, 4))
    products = within_products(varied, varied, nothing, varied >= 0)
    assert calibration(varied.sum(axis=1), varied.sum(axis=1), nothing.sum(axis=1), products, seed=0) is None
    alike = found(nothing + 1, nothing + 1, varied)
    assert [alike[name] for name in SLOPES] == [None] * 4
    assert alike["ratio"]["mean"] == pytest.approx(66 / 12)
