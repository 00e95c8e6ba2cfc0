"""Keep the last minute of requests, for p99 and the state of the objectives."""

from __future__ import annotations

from time import monotonic
from typing import Final

import numpy as np

from models.contract.arrays import Bools

WINDOW_SECONDS: Final = 60.0
_CAPACITY: Final = 65_536


class RollingWindow:
    """Hold durations of recent requests in a ring, at most 65,536."""

    def __init__(self) -> None:
        self._ends = np.full(_CAPACITY, -np.inf)
        self._seconds = np.zeros(_CAPACITY)
        self._answered = np.zeros(_CAPACITY, bool)
        self._degraded = np.zeros(_CAPACITY, bool)
        self._next = 0

    def add(self, seconds: float, *, answered: bool, degraded: bool, ended: float | None = None) -> None:
        """Note one valid request; `answered` with a list, or not.

        It has `ended` at that time of `monotonic`; missing: now.
        """
        i = self._next
        self._ends[i] = monotonic() if ended is None else ended
        self._seconds[i] = seconds
        self._answered[i] = answered
        self._degraded[i] = degraded
        self._next = (i + 1) % _CAPACITY

    def count(self) -> int:
        """Count the valid requests in the window."""
        return int(self._recent().sum())

    def quantile(self, q: float) -> float:
        """Return a quantile of the durations; NaN if there were none."""
        recent = self._seconds[self._recent()]
        return float(np.quantile(recent, q, method="higher")) if len(recent) else float("nan")

    def in_time_share(self, budget_seconds: float) -> float:
        """Return the share of requests with a list within the budget; NaN for none."""
        recent = self._recent()
        return _mean(self._answered[recent] & (self._seconds[recent] <= budget_seconds))

    def not_degraded_share(self) -> float:
        """Return the share of lists that are the model's; NaN for none."""
        return _mean(~self._degraded[self._recent() & self._answered])

    def _recent(self) -> Bools:
        return self._ends > monotonic() - WINDOW_SECONDS


def _mean(flags: Bools) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
