"""Compare two things measured in turn on a machine whose speed drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

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
