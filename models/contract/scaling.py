"""Transform and standardise numbers as their fields say. NumPy only.

Axis letters: F number columns, n rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Floats32
from models.contract.spec import Number

LOGIT_EPSILON: Final = 1e-6
"""How close to 0 and 1 a probability may come before its logit is taken."""


class Scale:
    """Transform, standardise and clip numbers (see `models.contract.spec.Number`): columns [F, n] to rows [n, F]."""

    def __init__(self, fields: Sequence[Number]) -> None:
        self._default, self._mean, self._std, self._clip = (
            np.array([getattr(f, name) for f in fields], np.float64).reshape(-1, 1)
            for name in ("default", "mean", "std", "clip")
        )
        self._least = -self._clip
        self._fields = tuple(fields)
        self._log = _runs([i for i, f in enumerate(fields) if f.transform == "log1p"])
        self._logit = _runs([i for i, f in enumerate(fields) if f.transform == "logit"])

    def __call__(self, columns: Floats) -> Floats32:
        """Scale `columns`, which are written over."""
        # A request has few numbers, and calls are what this costs: np.clip, `any` and lists of indices take several
        # times as long as the calls below.
        x, missing = columns, np.isnan(columns)
        if np.count_nonzero(missing):
            np.copyto(x, self._default, where=missing)
        for rows in self._log:
            part = x[rows]
            np.log1p(np.maximum(part, 0.0, out=part), out=part)
        for rows in self._logit:
            logit(x[rows])
        x -= self._mean
        x /= self._std
        np.minimum(np.maximum(x, self._least, out=x), self._clip, out=x)
        scaled: Floats32 = x.T.astype(np.float32, order="C")
        return scaled

    def one(self, numbers: Sequence[float]) -> Floats32:
        """Scale the numbers [F] of one row: the same, without arrays of one number each."""
        scaled = []
        for number, field in zip(numbers, self._fields, strict=True):
            x = field.default if math.isnan(number) else number
            if field.transform == "log1p":
                x = float(np.log1p(max(x, 0.0)))
            elif field.transform == "logit":
                p = min(max(x, LOGIT_EPSILON), 1 - LOGIT_EPSILON)
                x = float(np.log(p) - np.log1p(-p))
            scaled.append(min(max((x - field.mean) / field.std, -field.clip), field.clip))
        return np.array(scaled, np.float32)


def logit(p: Floats) -> None:
    """Replace probabilities, clipped to `LOGIT_EPSILON` from 0 and 1, by their logits."""
    np.minimum(np.maximum(p, LOGIT_EPSILON, out=p), 1 - LOGIT_EPSILON, out=p)
    other = np.negative(p)
    np.log1p(other, out=other)
    np.subtract(np.log(p, out=p), other, out=p)


def _runs(rows: Sequence[int]) -> list[slice]:
    """Join ascending rows that follow each other to slices, which make views."""
    starts = [row for row in rows if row - 1 not in rows]
    ends = [row + 1 for row in rows if row + 1 not in rows]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]
