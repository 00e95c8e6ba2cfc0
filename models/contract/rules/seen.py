"""Compute how near candidates are to the shown items that MMR looks back on.

Axis letters: n candidates, S shown items, L places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.contract.arrays import Floats32
from models.contract.candidates import CandidateTable
from models.contract.embeddings import unit_embeddings
from models.contract.rules.definition import Shown


def seen_cosines(candidates: CandidateTable, shown: Sequence[Shown], window: int, length: int) -> Floats32 | None:
    """Compute the largest cosines [L, n] to the shown items within MMR's window.

    At place t the window of the last `window` items holds t of the list, so it reaches the last `window` − t of
    `shown` [S], oldest first, None where nothing is known. NaN where it reaches no embedding, and for a candidate
    without one; None in place of the array if all are NaN. Raises `ValueError` if candidates and shown items have
    embeddings of different lengths.
    """
    recent = shown[-window:] if window else []
    if not length or not any(_may_have_embedding(item) for item in recent):
        return None
    rows = candidates.embeddings(np.arange(len(candidates)))
    others = _rows_of_shown(recent, rows)
    own, known = np.any(rows, axis=1), np.any(others, axis=1)
    if not own.any() or not known.any():
        return None
    cosines = np.where(np.logical_and.outer(known, own), others @ rows.T, np.float32(np.nan))
    largest = np.fmax.accumulate(cosines[::-1], axis=0)  # row k: to the last k + 1 shown
    found = np.full((length, len(rows)), np.nan, np.float32)
    for place in range(min(window, length)):
        found[place] = largest[min(window - place, len(largest)) - 1]
    return None if np.isnan(found).all() else found


def _may_have_embedding(item: Shown) -> bool:
    return isinstance(item, int) or (item is not None and bool(item.embedding))


def _rows_of_shown(recent: Sequence[Shown], rows: Floats32) -> Floats32:
    """Scale the embeddings of shown items [S, E] to length 1; candidates have theirs in `rows` [n, E]."""
    given = unit_embeddings([None if item is None or isinstance(item, int) else item.embedding for item in recent])
    if not given.any():
        given = np.zeros((len(recent), rows.shape[1]), np.float32)
    elif rows.any() and rows.shape[1] != given.shape[1]:
        raise ValueError(f"shown items have embeddings of {given.shape[1]} numbers, candidates of {rows.shape[1]}")
    for row, item in zip(given, recent, strict=True):
        if isinstance(item, int) and rows.shape[1] == given.shape[1]:
            row[:] = rows[item]
    return given
