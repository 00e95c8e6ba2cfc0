"""Scale embeddings to unit rows, of which products are cosines."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from models.contract.arrays import Floats, Floats32


def unit_embeddings(embeddings: Sequence[Sequence[float] | None]) -> Floats32:
    """Scale embeddings [n, E ≥ 1] to length 1; a missing or zero one is zeros."""
    given = [(i, embedding) for i, embedding in enumerate(embeddings) if embedding]
    if not given:
        return np.zeros((len(embeddings), 1), np.float32)
    places, found = zip(*given, strict=True)
    widths = set(map(len, found))
    width = max(widths)
    rows = np.zeros((len(embeddings), width), np.float64)
    if len(widths) == 1:
        numbers = itertools.chain.from_iterable(found)
        rows[list(places)] = np.fromiter(numbers, np.float64, len(given) * width).reshape(-1, width)
    else:
        for i, embedding in given:
            rows[i, : len(embedding)] = embedding
    return unit_rows(rows)


def unit_rows(rows: Floats) -> Floats32:
    """Scale `rows` [n, E], which are written over, to length 1; zeros stay zeros."""
    # Dividing by the largest magnitude first keeps squares of huge or tiny numbers finite.
    peak = np.abs(rows).max(axis=1, keepdims=True)
    rows = np.divide(rows, peak, out=rows, where=peak > 0)
    norm = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    np.divide(rows, norm, out=rows, where=norm > 0)
    scaled: Floats32 = rows.astype(np.float32)
    return scaled
