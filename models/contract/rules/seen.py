"""Compute how near candidates are to the shown items that MMR looks back on.

Axis letters: n candidates, S shown items, L places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import Floats32
from models.contract.features import CandidateLike, Scalar, unit_embeddings
from models.contract.rules.definition import ShownLike


@dataclass(frozen=True, slots=True)
class _Embedded:
    """Hold an embedding as a candidate does."""

    embedding: Sequence[float] | None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    price: float | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)


def seen_cosines(
    candidates: Sequence[CandidateLike], shown: Sequence[ShownLike | None], window: int, length: int
) -> Floats32 | None:
    """Compute the largest cosines [L, n] to the shown items within MMR's window.

    At place t the window of the last `window` items holds t of the list, so it reaches the last `window` − t of
    `shown` [S], oldest first, None where nothing is known. NaN where it reaches no embedding, and for a candidate
    without one; None in place of the array if all are NaN. Raises `ValueError` if candidates and shown items have
    embeddings of different lengths.
    """
    recent = shown[-window:] if window else []
    if not any(item is not None and item.embedding for item in recent):
        return None
    rows = unit_embeddings(candidates)
    others = unit_embeddings([_Embedded(None if item is None else item.embedding) for item in recent])
    own, known = np.any(rows, axis=1), np.any(others, axis=1)
    if not length or not own.any() or not known.any():
        return None
    if rows.shape[1] != others.shape[1]:
        raise ValueError(f"shown items have embeddings of {others.shape[1]} numbers, candidates of {rows.shape[1]}")
    cosines = np.where(np.logical_and.outer(known, own), others @ rows.T, np.float32(np.nan))
    largest = np.fmax.accumulate(cosines[::-1], axis=0)  # row k: to the last k + 1 shown
    found = np.full((length, len(rows)), np.nan, np.float32)
    for place in range(min(window, length)):
        found[place] = largest[min(window - place, len(largest)) - 1]
    return None if np.isnan(found).all() else found
