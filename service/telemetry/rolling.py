"""The last minute of requests in a ring, from which p99 and the objectives' present state are read."""

from __future__ import annotations

from time import monotonic
from typing import Final

import numpy as np

from models.contract.arrays import Bools

WINDOW_SECONDS: Final = 60.0
_CAPACITY: Final = 65_536


class RollingWindow:
    """Durations of recent requests. Above 1,092 requests/s the ring, not the minute, is the limit."""

    def __init__(self) -> None:
        self._ends = np.full(_CAPACITY, -np.inf)
        self._seconds = np.zeros(_CAPACITY)
        self._answered = np.zeros(_CAPACITY, bool)
        self._degraded = np.zeros(_CAPACITY, bool)
        self._next = 0

    def add(self, seconds: float, *, answered: bool, degraded: bool) -> None:
        """Note one valid request; `answered` with a list, or not."""
        i = self._next
        self._ends[i] = monotonic()
        self._seconds[i] = seconds
        self._answered[i] = answered
        self._degraded[i] = degraded
        self._next = (i + 1) % _CAPACITY

    def count(self) -> int:
        """Valid requests in the window."""
        return int(self._recent().sum())

    def quantile(self, q: float) -> float:
        """The quantile of the durations, NaN when there were none."""
        recent = self._seconds[self._recent()]
        return float(np.quantile(recent, q, method="higher")) if len(recent) else float("nan")

    def in_time_share(self, budget_seconds: float) -> float:
        """The share of requests answered with a list within the budget, NaN when there were none."""
        recent = self._recent()
        return _mean(self._answered[recent] & (self._seconds[recent] <= budget_seconds))

    def not_degraded_share(self) -> float:
        """The share of lists that are the model's, NaN when there were none."""
        return _mean(~self._degraded[self._recent() & self._answered])

    def _recent(self) -> Bools:
        return self._ends > monotonic() - WINDOW_SECONDS


def _mean(flags: Bools) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
