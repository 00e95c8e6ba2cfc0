"""Scores become probabilities: the curve that made the clicks is found again, and never turns an order around."""

from __future__ import annotations

import numpy as np
import pytest

from models.baselines.scorers.calibration import Calibration, fit_calibration
from models.contract.arrays import Floats


def clicked(probabilities: Floats, seed: int) -> Floats:
    draws = np.random.default_rng(seed).random(probabilities.shape)
    return (draws < probabilities).astype(np.float64)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_the_curve_that_made_the_clicks_is_found_whatever_the_scale_of_the_scores(scale: float) -> None:
    raw = np.random.default_rng(0).normal(2.0, 1.5, 20_000)
    truth = 1 / (1 + np.exp(-(0.8 * raw - 3.0)))
    fitted = fit_calibration(raw * scale, clicked(truth, 1))
    np.testing.assert_allclose(fitted(raw * scale), truth, atol=0.02)
    assert fitted(raw * scale).mean() == pytest.approx(truth.mean(), abs=0.01)


def test_scores_that_mislead_all_become_the_mean_rate() -> None:
    scores = np.linspace(0.0, 1.0, 2000)
    clicks = clicked(0.5 - 0.4 * scores, 2)
    np.testing.assert_allclose(fit_calibration(scores, clicks)(scores), clicks.mean())


def test_scores_that_decide_every_click_and_equal_scores_stay_finite() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    decided = fit_calibration(scores, np.array([0.0, 0.0, 1.0, 1.0]))(scores)
    assert (np.diff(decided) > 0).all()
    assert 0 < decided[0] < 0.5 < decided[-1] < 1
    np.testing.assert_allclose(fit_calibration(np.ones(4), np.array([0.0, 0.0, 0.0, 1.0]))(np.ones(4)), 0.25)


def test_extreme_scores_have_probabilities_and_shapes_are_kept() -> None:
    extreme = Calibration(5.0, 0.0)(np.array([[-1e300, 0.0, 1e300]]))
    np.testing.assert_array_equal(extreme, [[0.0, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("scores", "clicks", "problem"),
    [
        ([0.1, np.nan], [0.0, 1.0], "must be finite"),
        ([0.1, 0.2], [1.0, 1.0], "needs clicks"),
        ([], [], "needs clicks"),
    ],
)
def test_what_nothing_can_be_fitted_to_is_refused(scores: list[float], clicks: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        fit_calibration(np.array(scores), np.array(clicks))
