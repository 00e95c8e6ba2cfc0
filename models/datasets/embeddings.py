"""Embed items by their attributes for MMR: a truncated SVD.

The matrix of standardised attributes holds no labels, and scales and directions are learnt from the rows to fit only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Floats, Ints

WIDTH: Final = 16
_FEWEST: Final = 20
_ROWS: Final = 1 << 16
"""How many rows of the attribute matrix are held at once: a log of millions has hundreds of categories."""

_Attribute = Callable[[slice], Floats]
"""Give the column of the attribute matrix at some rows."""


def attribute_embeddings(
    numbers: Mapping[str, Floats], categories: Mapping[str, Sequence[str]], fit: Bools, *, width: int = WIDTH
) -> Floats:
    """Compute embeddings [n, E] of n items.

    E is `width`, or the number of attributes if that is fewer. Numbers are standardised (missing: the mean) and
    categories that occur at least 20 times among the rows to `fit` become centred indicators. Of each direction the
    largest part is positive.
    """
    attributes = [_number(values, fit) for values in numbers.values()]
    attributes += [i for values in categories.values() for i in _indicators(values, fit)]
    blocks = [slice(start, start + _ROWS) for start in range(0, len(fit), _ROWS)]
    products = np.zeros((len(attributes), len(attributes)))
    for rows in blocks:
        matrix = _matrix(attributes, rows)[fit[rows]]
        products += matrix.T @ matrix
    # The right singular vectors of the matrix of all rows to fit, largest singular value first.
    directions = np.linalg.eigh(products)[1][:, : -width - 1 : -1]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    embeddings = np.empty((len(fit), directions.shape[1]))
    for rows in blocks:
        embeddings[rows] = np.round(_matrix(attributes, rows) @ directions, 5)
    return embeddings


def describe_embedding(attributes: Sequence[str], fitted_on: str) -> str:
    """Describe the embedding in one sentence, for a list file's metadata."""
    return f"truncated SVD of the standardised item attributes ({', '.join(attributes)}), fitted on {fitted_on}"


def _number(values: Floats, fit: Bools) -> _Attribute:
    """Standardise a number."""
    known = values[fit & ~np.isnan(values)]
    mean, std = (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, np.inf)
    return lambda rows: np.nan_to_num((values[rows] - mean) / std).clip(-5.0, 5.0)


def _indicators(values: Sequence[str], fit: Bools) -> list[_Attribute]:
    """Make an indicator of each common category, sorted by name; missing values get none."""
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
    counts = np.bincount(codes[fit], minlength=len(numbers))
    kept = sorted(name for name, code in numbers.items() if name and counts[code] >= _FEWEST)
    return [_indicator(codes, numbers[name], counts[numbers[name]] / fit.sum()) for name in kept]


def _indicator(codes: Ints, code: int, share: np.float64) -> _Attribute:
    """Indicate membership of a category, centred."""
    return lambda rows: (codes[rows] == code) - share


def _matrix(attributes: Sequence[_Attribute], rows: slice) -> Floats:
    return np.column_stack([attribute(rows) for attribute in attributes])
