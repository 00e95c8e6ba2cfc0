"""Turn scores into probabilities of a click, by a logistic curve fitted on held-out lists.

Scorers that learn from clicks alone give scores of a scale of their own. A formula that multiplies them by conversion
rates and prices needs probabilities.

Axis letters: r items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from models.contract.arrays import Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """Hold the curve 1 / (1 + exp(−(slope·score + intercept)))."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise ValueError(f"calibration: slope {self.slope} and intercept {self.intercept} must be finite")

    def __call__(self, scores: Floats) -> Floats:
        """Compute P(click) for scores of any shape."""
        # Of the two equal forms of the curve, this one cannot overflow.
        probabilities: Floats = (1 + np.tanh((self.slope * scores + self.intercept) / 2)) / 2
        return probabilities


def fit_calibration(scores: Floats, clicks: Floats) -> Calibration:
    """Fit the curve to scores [r] and clicks [r], 0 or 1.

    They must be of items that the scorer did not learn from.
    The slope is never below 0: where higher scores had fewer clicks, all items get the mean rate. Raises `ValueError`
    for scores that are not finite, and without both a click and an item that was not clicked.
    """
    if not np.isfinite(scores).all():
        raise ValueError("calibration: scores must be finite")
    if len(np.unique(clicks)) < 2:
        raise ValueError("calibration: needs clicks, and items without one")
    centre, width = float(scores.mean()), float(scores.std()) or 1.0
    # On standardised scores the mild penalty matters for few items only; it keeps separable ones finite.
    model = LogisticRegression().fit(((scores - centre) / width)[:, None], clicks)
    slope = float(model.coef_[0, 0]) / width
    if slope <= 0:
        rate = float(clicks.mean())
        return Calibration(0.0, math.log(rate / (1 - rate)))
    return Calibration(slope, float(model.intercept_[0]) - slope * centre)
