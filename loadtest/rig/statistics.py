"""Take exact percentiles of response times, and ratios of things measured in turn."""

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


_RESAMPLES: Final = 4000
_LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The median over pairs of b / a, and its 95% bootstrap interval over the pairs."""

    median: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedRatio:
        """Take the ratios of b to a. Raises `ValueError` for unequal lengths or zeros."""
        if len(a) != len(b) or not a or min(a) <= 0:
            raise ValueError(f"pairs need as many of both, and a first that is positive: {len(a)} and {len(b)}")
        ratios = np.array(b) / np.array(a)
        rng = np.random.default_rng(seed)
        medians = np.median(rng.choice(ratios, (_RESAMPLES, len(ratios))), axis=1)
        low, high = np.quantile(medians, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
        return cls(float(np.median(ratios)), low, high, len(ratios))

    @property
    def differs(self) -> bool:
        """Say whether the interval leaves 1 out."""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"
