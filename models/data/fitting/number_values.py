"""Gather the numbers of one field, and fit a `Number` to them.

Numbers are held, and all figures are those of NumPy over all of them, until `fold` is called. From then on mean,
deviation and skewness are merged block by block, exact but for rounding, and the median is that of a sample.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from models.contract.arrays import Floats
from models.contract.spec import Number, Transform
from models.data.fitting.moments import BLOCK, Moments, Sample, transformed

SAMPLE: Final = 1 << 20
"""Numbers that a median is taken of, at most."""

_HEAVY_SKEW: Final = 2.0


class NumberValues:
    """Gather numbers; `path` names the field in messages."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: list[Floats] = []
        self._least, self._most = math.inf, -math.inf
        self._moments: dict[Transform, Moments] | None = None
        self._sample = Sample(SAMPLE)

    @property
    def held(self) -> int:
        """Count the numbers in memory."""
        return sum(map(len, self._held))

    @property
    def folded(self) -> bool:
        """Tell whether numbers are no longer held."""
        return self._moments is not None

    def add(self, values: Floats) -> None:
        """Add float64 numbers. Raises `ValueError` naming the first that is not finite."""
        if not np.isfinite(values).all():
            raise ValueError(f"{self._path}: holds {values[~np.isfinite(values)][0]}, not a finite number")
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))
        self._held.append(values.copy())  # a view would keep the window that it is of
        if self.folded and self.held >= BLOCK:
            self.fold()

    def extend(self, other: NumberValues) -> None:
        """Add the numbers that another holds, all of them, as those that follow."""
        assert not other.folded, "folded numbers are no longer there to be added"
        self._least, self._most = min(self._least, other._least), max(self._most, other._most)
        self._held.extend(other._held)
        if self.folded and self.held >= BLOCK:
            self.fold()

    def fold(self) -> None:
        """Fold what is held into moments and a sample, whole blocks only."""
        if self._moments is None:
            self._moments = {}
        if not self._held:
            return
        values = self._values()
        whole = len(values) - len(values) % BLOCK
        for start in range(0, whole, BLOCK):
            self._fold_block(values[start : start + BLOCK])
        self._held = [values[whole:].copy()]

    def number(self, name: str) -> Number:
        """Fit a number: logarithms for what is never negative and has a long tail."""
        return self.standardised(name, "log1p" if self._has_long_tail() else "identity")

    def score(self, name: str) -> Number:
        """Fit a prior score: logits for what lies in 0..1."""
        return self.standardised(name, "logit" if self._least >= 0 and self._most <= 1 else "identity")

    def standardised(self, name: str, transform: Transform) -> Number:
        """Fit mean, deviation and median under a transform."""
        if self.folded:
            found = self._merged(transform)
            mean, std, largest = found.mean, found.std, found.largest
            median = self._sample.median(self._values())
        else:
            values = self._values()
            x = transformed(values, transform)
            mean, std, largest, median = (
                float(x.mean()),
                float(x.std()),
                float(np.abs(x).max()),
                float(np.median(values)),
            )
        # A constant column carries nothing; leave its scale alone rather than blow rounding errors up.
        usable = math.isfinite(std) and std > 1e-9 * max(1.0, largest)
        return Number(name, mean, std if usable else 1.0, median, transform)

    def _values(self) -> Floats:
        """Join the numbers held into one array."""
        self._held = [np.concatenate(self._held)]
        return self._held[0]

    def _has_long_tail(self) -> bool:
        if self._least < 0:
            return False
        if self.folded:
            skew, logged = self._merged("identity").skewness, self._merged("log1p").skewness
        else:
            values = self._values()
            skew = _skewness(values)
            logged = _skewness(np.log1p(values)) if skew > _HEAVY_SKEW else 0.0
        return skew > _HEAVY_SKEW and abs(logged) < skew

    def _fold_block(self, values: Floats) -> None:
        assert self._moments is not None
        for transform in self._possible():
            found = Moments.of(transformed(values, transform))
            self._moments[transform] = self._moments.get(transform, Moments()).merged(found)
        self._sample.add(values)

    def _possible(self) -> list[Transform]:
        """List the transforms that all numbers so far allow."""
        found: list[Transform] = ["identity"]
        if self._least >= 0:
            found.append("log1p")
            if self._most <= 1:
                found.append("logit")
        return found

    def _merged(self, transform: Transform) -> Moments:
        """Merge the rest that fills no block."""
        assert self._moments is not None
        found, rest = self._moments.get(transform, Moments()), self._values()
        return found.merged(Moments.of(transformed(rest, transform))) if len(rest) else found


def _skewness(values: Floats) -> float:
    std = float(values.std())
    return 0.0 if std == 0 else float((((values - values.mean()) / std) ** 3).mean())
