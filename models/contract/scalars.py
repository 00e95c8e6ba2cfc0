"""Read single values of fields, or raise an error that names the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Floats

Scalar = str | int | float | bool | None

MISSING_WORDS: Final = frozenset(
    {"nan", "null", "(null)", "none", "n/a", "#n/a", "na", "<na>", "nat", "nil", "undefined", "\\n"}
)
"""Words, in lower case, that tools write where a value is missing."""


class FeatureError(ValueError):
    """Report a request's value that cannot be used; `path` names it, such as ``candidates[3].features.stars``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def canonical_text(value: str | int | float | bool) -> str:
    """Write a category as text; 5 and 5.0 are alike, as are true and True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def read_numbers(values: Sequence[Scalar], paths: Iterable[str]) -> Floats:
    """Read numbers, NaN where one is missing. Raises `FeatureError` at the first non-number."""
    if str not in set(map(type, values)):  # NumPy would read "5" as 5
        try:
            return np.array(values, np.float64)
        except OverflowError:
            pass  # the line below finds which
    return np.array([read_number(value, path) for value, path in zip(values, paths, strict=True)], np.float64)


def read_number(value: Scalar, path: str) -> float:
    """Read a number, NaN if it is missing. Raises `FeatureError` if it is none."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        raise FeatureError(path, f"must be a number, not the string {value[:40]!r}")
    try:
        return float(value)
    except OverflowError:
        raise FeatureError(path, "is too large for a number") from None
