"""Turn response times into exact percentiles, which verdicts rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

BUDGET_MS: Final = 19.0
"""The latency budget of a request, p99 (SORT-Gen's published end-to-end figure)."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds, each the nearest rank: a time that some request took."""

    requests: int
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Latency:
        """Take the percentiles of the times. Raises `ValueError` if there are none."""
        if len(times_ms) == 0:
            raise ValueError("there are no response times")
        p50, p95, p99, worst = np.percentile(times_ms, [50, 95, 99, 100], method="inverted_cdf").tolist()
        return cls(len(times_ms), p50, p95, p99, worst)

    def within(self, budget_ms: float) -> bool:
        """Say whether p99 keeps the budget."""
        return self.p99 <= budget_ms
