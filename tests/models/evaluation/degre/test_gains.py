"""What planners gain over the sort, and keep of a search's gain, on values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.degre.figures import gain_figures
from models.evaluation.degre.layout import gain_tables
from tests.models.tables import compact

RNG = np.random.default_rng(0)
FLOOR = RNG.uniform(0.5, 1.5, 400)
MOST = RNG.uniform(0.0, 0.8, 400)


def test_ratios_are_of_means_over_the_same_requests() -> None:
    found = gain_figures(0.9 * MOST, FLOOR, MOST)
    assert found["gain"]["mean"] == pytest.approx(0.9 * MOST.mean())
    assert found["relative"]["mean"] == pytest.approx(0.9 * MOST.mean() / FLOOR.mean())
    assert found["kept"] == {
        "mean": pytest.approx(0.9),
        "low": pytest.approx(0.9),
        "high": pytest.approx(0.9),
        "lists": 400,
    }
    noisy = gain_figures(0.9 * MOST + RNG.normal(0, 0.3, 400), FLOOR, MOST)["kept"]
    assert noisy["low"] < noisy["mean"] < noisy["high"]
    assert noisy["high"] - noisy["low"] == pytest.approx(2 * 1.96 * 0.3 / 20 / MOST.mean(), rel=0.2)


def test_a_share_of_what_is_not_surely_a_gain_is_not_defined() -> None:
    nothing = RNG.normal(0, 1, 400)
    found = gain_figures(MOST, FLOOR, nothing - nothing.mean())
    assert found["kept"] is None
    assert gain_figures(MOST, FLOOR, None)["kept"] is None
    entry = {"title": "DeGRe", "ceiling": False, "seeds": 1, **found}
    table = compact(gain_tables({"truth": [entry]}, {"truth": "truth"}, "sort", "beam 8"))
    assert table.splitlines()[2] == "| planner | gain over the sort | relative | of what beam 8 gains | seeds |"
    assert table.splitlines()[4].endswith("| not defined | 1 |")
