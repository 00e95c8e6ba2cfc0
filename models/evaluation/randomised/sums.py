"""Estimates that are functions of sums over lists, and their bootstrap intervals.

All estimates share one set of resamples, and of a list only a few numbers are kept, so hundreds of thousands of lists
fit. Knows nothing about what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from models.contract.arrays import Floats
from models.judging.metrics import Interval

Totals = Mapping[str, Any]
"""Name of a column to its sum over lists: a number, or one per resample [draws]."""

Estimate = Callable[[Totals], Any]
"""An estimate as a function of sums. It must be made of operations that work on arrays as well."""

DRAWS: Final = 2000
_CELLS: Final = 8_000_000
"""How many draws of a list are held at once."""


class Resampled:
    """Sums of columns over all lists, and over each of `draws` resamples of the lists."""

    def __init__(self, columns: Mapping[str, Floats], *, seed: int, draws: int = DRAWS) -> None:
        """`columns` are arrays [lists] of one length. Raises `ValueError` if there are no lists."""
        table = np.column_stack(list(columns.values()))
        self.lists = len(table)
        if not self.lists:
            raise ValueError("there are no lists to take a mean over")
        self._all: Totals = dict(zip(columns, table.sum(axis=0).tolist(), strict=True))
        drawn = _resampled(table, np.random.default_rng(seed), draws)
        self._drawn: Totals = dict(zip(columns, drawn.T, strict=True))

    def total(self, name: str) -> float:
        """The sum of a column over all lists."""
        return float(self._all[name])

    def interval(self, estimate: Estimate, *, level: float = 0.95) -> Interval:
        """An estimate with its percentile interval."""
        tail = (1 - level) / 2
        low, high = np.quantile(estimate(self._drawn), [tail, 1 - tail])
        return Interval(float(estimate(self._all)), float(low), float(high), self.lists)


def _resampled(table: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Column sums [draws, columns] of resampled rows."""
    lists = len(table)
    at_once = max(1, _CELLS // lists)
    parts = []
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        chosen = rng.integers(lists, size=(rows, lists)) + np.arange(rows)[:, None] * lists
        counts = np.bincount(chosen.ravel(), minlength=rows * lists).reshape(rows, lists)
        parts.append(counts @ table)
    return np.concatenate(parts)
