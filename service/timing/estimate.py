"""Fit time against amount live, T(n) = a + b·n, forgetting older observations.

Used for a run of the engine over n requests.
"""

from __future__ import annotations

from typing import Final

_MEMORY: Final = 0.98
# One observation counts as at most so many times the prediction: a single hiccup must not look like the new normal,
# and a lasting one still gets through within a few observations.
_OUTLIER: Final = 3.0
_SAME_AMOUNT: Final = 1e-3
# About 99 of 100 observations lie below the mean plus so many mean deviations.
_DEVIATIONS: Final = 3.0
# Where only one amount has been seen, a and b cannot be told apart; half of the time is then taken as fixed.
_FIXED_SHARE: Final = 0.5


class LiveFit:
    """Least squares with exponential forgetting. Times are in seconds, predictions never negative."""

    __slots__ = ("_mean_n", "_mean_t", "_nn", "_nt", "_weight", "deviation")

    def __init__(self) -> None:
        self._weight = 0.0
        self._mean_n = self._mean_t = 0.0
        self._nn = self._nt = 0.0
        self.deviation = 0.0
        """Mean absolute error of recent predictions, in seconds."""

    def add(self, n: int, seconds: float) -> None:
        """Note that `n` took `seconds`."""
        if self._weight:
            expected = self.predict(n)
            seconds = min(seconds, _OUTLIER * expected) if expected else seconds
            self.deviation += (1 - _MEMORY) * (abs(seconds - expected) - self.deviation)
        self._weight = _MEMORY * self._weight + 1
        share = 1 / self._weight
        dn, dt = n - self._mean_n, seconds - self._mean_t
        self._mean_n += share * dn
        self._mean_t += share * dt
        # Welford's update: variance and covariance around the moving means.
        self._nn += share * (dn * (n - self._mean_n) - self._nn)
        self._nt += share * (dn * (seconds - self._mean_t) - self._nt)

    def predict(self, n: int) -> float:
        """Predict the seconds that `n` will take; 0 before the first observation."""
        if not self._weight:
            return 0.0
        if self._nn > _SAME_AMOUNT:
            slope = max(0.0, self._nt / self._nn)
        else:
            slope = (1 - _FIXED_SHARE) * self._mean_t / max(self._mean_n, 1.0)
        return max(0.0, self._mean_t + slope * (n - self._mean_n))

    def bound(self, n: int) -> float:
        """Return a bound for 99 of 100 times of `n`; 0 without observations."""
        return self.predict(n) + _DEVIATIONS * self.deviation
