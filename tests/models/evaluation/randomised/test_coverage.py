"""In the simulator the estimators find the truth, and their intervals hold it, where what they assume is so."""

from __future__ import annotations

from typing import Any

import pytest

from models.evaluation.randomised.coverage import CoverageTrial, coverage
from models.evaluation.randomised.estimators import CASCADE, ITEM, PAIR

TRIAL = CoverageTrial(logs=60, lists=4500, requests=60, items=6, places=3, depths=(2,), seed=1)


def rows(kappa: float) -> dict[str, dict[str, Any]]:
    return {row["estimator"]: row for row in coverage(TRIAL, kappa)}


def error(row: dict[str, Any]) -> float:
    """How far the mean estimate is from the truth, in its standard errors."""
    return float(abs(row["estimate"] - row["true"]) / (row["half_width"] / 1.96 / TRIAL.logs**0.5))


@pytest.mark.long
def test_without_context_every_version_is_right() -> None:
    for row in rows(0.0).values():
        assert row["logs"] == TRIAL.logs
        assert row["covered"] >= 0.85
        assert error(row) < 3.5


@pytest.mark.long
def test_the_gain_through_context_is_seen_by_pairs_and_cascades_and_missed_by_items() -> None:
    found = rows(2.0)
    for name in (PAIR, CASCADE):
        assert found[name]["covered"] >= 0.85
        assert error(found[name]) < 3.5
    assert found[ITEM]["covered"] < 0.8
    assert found[ITEM]["estimate"] < found[ITEM]["true"] / 2


def test_logs_are_the_same_for_the_same_seed() -> None:
    trial = CoverageTrial(logs=3, lists=200, requests=10, items=4, places=2, depths=(1,))
    assert coverage(trial, 1.0) == coverage(trial, 1.0)
    assert coverage(trial, 1.0) != coverage(CoverageTrial(**{**vars(trial), "seed": 1}), 1.0)


def test_logs_with_too_few_agreements_are_not_counted() -> None:
    trial = CoverageTrial(logs=2, lists=20, requests=5, items=6, places=2, depths=(1,))
    for row in coverage(trial, 1.0):
        assert row["logs"] == 0
        assert "estimate" not in row
        assert row["true"] != pytest.approx(0, abs=1e-12)
