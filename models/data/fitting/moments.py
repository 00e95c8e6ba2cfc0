"""Compute mean, deviation and skewness of numbers that come in blocks.

Numbers are folded in blocks of one size, so that neither windows nor part files change the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Floats
from models.contract.scaling import LOGIT_EPSILON
from models.contract.spec import Transform

BLOCK: Final = 1 << 16
"""Numbers of a block."""
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiples of it are spread evenly, whatever the period of what is sampled."""


def transformed(values: Floats, transform: Transform) -> Floats:
    """Transform numbers as an encoder does before it standardises them."""
    if transform == "log1p":
        return np.log1p(values)
    if transform == "logit":
        p = np.clip(values, LOGIT_EPSILON, 1 - LOGIT_EPSILON)
        return np.log(p) - np.log1p(-p)
    return values


@dataclass(frozen=True, slots=True)
class Moments:
    """Hold count, mean, sums of squared and cubed differences from it, and the largest magnitude."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Compute the moments of some numbers, at least one."""
        mean = float(values.mean())
        apart = values - mean
        squares, cubes = float(np.square(apart).sum()), float((apart**3).sum())
        return cls(len(values), mean, squares, cubes, float(np.abs(values).max()))

    def merged(self, other: Moments) -> Moments:
        """Compute the moments of both sets of numbers together (Pébay 2008)."""
        a, b = self.count, other.count
        n, apart = a + b, other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * a * b / n
        cubes = self.cubes + other.cubes + apart**3 * a * b * (a - b) / n**2
        cubes += 3 * apart * (a * other.squares - b * self.squares) / n
        return Moments(n, self.mean + apart * b / n, squares, cubes, max(self.largest, other.largest))

    @property
    def std(self) -> float:
        """Compute the standard deviation."""
        return math.sqrt(self.squares / self.count)

    @property
    def skewness(self) -> float:
        """Compute the skewness; 0 where all numbers are alike but for rounding."""
        alike = self.std <= 1e-9 * max(1.0, self.largest)
        return 0.0 if alike else (self.cubes / self.count) / self.std**3


class Sample:
    """Draw a sample of at most `most` numbers, by their place alone.

    The first number has the place `first`.
    """

    def __init__(self, most: int, first: int = 0) -> None:
        self._most = most
        self._values: list[Floats] = []
        self._ranks: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self._seen, self._kept = first, 0
        self._bound = np.uint64(2**64 - 1)

    def add(self, values: Floats) -> None:
        """Look at more numbers."""
        self._keep(values, self._ranks_of(values))
        self._seen += len(values)
        self._shrink()

    def extend(self, other: Sample) -> None:
        """Join the sample of numbers of other places, of as many at most."""
        if other._bound < self._bound:
            self._narrow(other._bound)
        for values, ranks in zip(other._values, other._ranks, strict=True):
            self._keep(values, ranks)
        self._shrink()

    def __len__(self) -> int:
        return self._kept

    def median(self, rest: Floats | None = None) -> float:
        """Compute the median of the sample, as if `rest` had been added too."""
        if rest is None:
            return float(np.median(np.concatenate(self._values)))
        return float(np.median(np.concatenate([*self._values, rest[self._ranks_of(rest) <= self._bound]])))

    def _ranks_of(self, following: Floats) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Rank the numbers that follow those seen: the lowest ranks are drawn."""
        return np.arange(self._seen, self._seen + len(following), dtype=np.uint64) * _MIXER

    def _shrink(self) -> None:
        while self._kept > self._most:
            self._narrow(self._bound // np.uint64(2))

    def _narrow(self, bound: np.uint64) -> None:
        """Keep only numbers of ranks up to `bound`."""
        values, ranks, self._bound = self._values, self._ranks, bound
        self._values, self._ranks, self._kept = [], [], 0
        if values:
            self._keep(np.concatenate(values), np.concatenate(ranks))

    def _keep(self, values: Floats, ranks: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        chosen = ranks <= self._bound
        self._values.append(values[chosen])
        self._ranks.append(ranks[chosen])
        self._kept += int(chosen.sum())
