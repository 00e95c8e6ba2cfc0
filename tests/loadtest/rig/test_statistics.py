"""Ratios are taken between neighbours in time, with an interval that covers what it should."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.cost.paired import SIDES, Variant, compare, table
from loadtest.peers.comparison import ClosedRow
from loadtest.rig.statistics import PairedRatio
from tests.loadtest.tables import squeezed


def test_drift_that_both_share_is_not_a_difference() -> None:
    drift = np.linspace(1, 3, 20)
    ratio = PairedRatio.of((2 * drift).tolist(), (3 * drift).tolist())
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert ratio.pairs == 20
    assert ratio.differs


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for i in range(200):
        noise = np.exp(rng.normal(0, 0.2, (2, 25)))
        ratio = PairedRatio.of(noise[0].tolist(), (1.1 * noise[1]).tolist(), seed=i)
        covered += ratio.low <= 1.1 <= ratio.high
    assert 0.88 <= covered / 200 <= 1.0


def test_two_samples_of_the_same_do_not_differ() -> None:
    a, b = np.random.default_rng(1).uniform(0.9, 1.1, (2, 40)).tolist()
    assert not PairedRatio.of(a, b).differs


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_what_has_no_ratio_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs need"):
        PairedRatio.of(a, b)


def test_variables_come_before_options() -> None:
    variant = Variant.parse("A=1 B='two words' --log-level debug --x=C=3")
    assert variant.environment == {"A": "1", "B": "two words"}
    assert variant.options == ("--log-level", "debug", "--x=C=3")
    assert Variant.parse("") == Variant({}, ())


def test_a_comparison_holds_b_and_the_control_to_a_of_the_same_turn() -> None:
    closed = [
        ClosedRow(block, side, 8, ms, 10 * ms, 1000 / ms, 0.5, ms / 2, 1.0)
        for block, x in enumerate((1.0, 4.0, 2.0))
        for side, ms in zip(SIDES, (x, x / 2, x), strict=True)
    ]
    rows = compare(closed)
    assert [r.figure for r in rows] == ["p50", "p99", "ms a request", "overhead p50"]
    assert [(r.a, r.b) for r in rows] == [(2.0, 1.0), (20.0, 10.0), (2.0, 1.0), (1.0, 0.5)]
    assert all(r.ratio.median == 0.5 and r.control.median == 1.0 and not r.control.differs for r in rows)
    assert squeezed(table(rows)).splitlines()[2] == (
        "| 8 | p50 | 2.000 | 1.000 | 0.500 (0.500 to 0.500) | 1.000 (1.000 to 1.000) |"
    )
