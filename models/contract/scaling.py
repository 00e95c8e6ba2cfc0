"""Transform and standardise numbers as their fields say. NumPy only.

Axis letters: F number columns, n rows.
"""

from __future__ import annotations

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
        self._log = [i for i, f in enumerate(fields) if f.transform == "log1p"]
        self._logit = [i for i, f in enumerate(fields) if f.transform == "logit"]

    def __call__(self, columns: Floats) -> Floats32:
        """Scale `columns`, which are written over."""
        x, missing = columns, np.isnan(columns)
        if missing.any():
            np.copyto(x, self._default, where=missing)
        if self._log:
            x[self._log] = np.log1p(np.maximum(x[self._log], 0.0))
        if self._logit:
            # np.clip does the same at three times the cost; a request has few numbers, and calls are what this costs.
            p = np.minimum(np.maximum(x[self._logit], LOGIT_EPSILON), 1 - LOGIT_EPSILON)
            x[self._logit] = np.log(p) - np.log1p(-p)
        x -= self._mean
        x /= self._std
        np.minimum(np.maximum(x, self._least, out=x), self._clip, out=x)
        scaled: Floats32 = x.T.astype(np.float32, order="C")
        return scaled
