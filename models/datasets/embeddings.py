"""Item embeddings for MMR from item attributes: a truncated SVD of the standardised attribute matrix.

Uses attributes only, never labels, and learns scales and directions from the rows it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD

Floats = NDArray[np.float64]

WIDTH: Final = 16
_FEWEST: Final = 20


def attribute_embeddings(
    numbers: Mapping[str, Floats],
    categories: Mapping[str, Sequence[str]],
    fit: NDArray[np.bool_],
    *,
    seed: int,
    width: int = WIDTH,
) -> Floats:
    """Embeddings [n, E] of n items; E is `width`, or the number of attributes if that is fewer.

    Numbers are standardised (missing: the mean) and categories that occur at least 20 times among the rows to `fit`
    become centred indicators.
    """
    columns = [_standardise(values, fit) for values in numbers.values()]
    for values in categories.values():
        counts = Counter(v for v, use in zip(values, fit.tolist(), strict=True) if use and v)
        text = np.array(values, dtype=object)
        kept = sorted(v for v, n in counts.items() if n >= _FEWEST)
        columns += [_centre((text == v).astype(np.float64), fit) for v in kept]
    matrix = np.column_stack(columns)
    width = min(width, matrix.shape[1])
    svd = TruncatedSVD(n_components=width, random_state=seed).fit(matrix[fit])
    embeddings: Floats = np.round(svd.transform(matrix), 5)
    return embeddings


def describe_embedding(attributes: Sequence[str], fitted_on: str) -> str:
    """One sentence for a list file's metadata."""
    return f"truncated SVD of the standardised item attributes ({', '.join(attributes)}), fitted on {fitted_on}"


def _standardise(values: Floats, fit: NDArray[np.bool_]) -> Floats:
    known = values[fit & ~np.isnan(values)]
    if not len(known):
        return np.zeros_like(values)
    std = float(known.std()) or 1.0
    scaled: Floats = np.where(np.isnan(values), 0.0, (values - known.mean()) / std)
    return np.clip(scaled, -5.0, 5.0)


def _centre(values: Floats, fit: NDArray[np.bool_]) -> Floats:
    centred: Floats = values - values[fit].mean()
    return centred
