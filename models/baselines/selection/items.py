"""Hold what rules of selection choose from: scored candidates of many requests.

Axis letters: n requests, N candidates (padded to the longest), m places, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from models.contract.arrays import AnyFloats, Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """Hold candidates of n requests: `relevance` [n, N], `unit` [n, N, E] and `present` [n, N] (False: padding).

    `unit` are embeddings of length 1, zeros for a candidate without one. A candidate whose relevance is not finite is
    chosen last.
    """

    relevance: Floats
    unit: Floats
    present: Bools

    @classmethod
    def of(cls, relevance: Sequence[Floats], unit: Sequence[AnyFloats]) -> Self:
        """Pad each request's relevance [k] and unit embeddings [k, E]."""
        n, most = len(relevance), max(map(len, relevance), default=0)
        width = max((rows.shape[1] for rows in unit), default=1)
        padded = cls(np.zeros((n, most)), np.zeros((n, most, width)), np.zeros((n, most), bool))
        for i, (values, rows) in enumerate(zip(relevance, unit, strict=True)):
            padded.relevance[i, : len(values)] = values
            padded.unit[i, : len(rows), : rows.shape[1]] = rows
            padded.present[i, : len(values)] = True
        return padded

    def __len__(self) -> int:
        return len(self.relevance)

    @property
    def usable(self) -> Bools:
        """Tell which candidates have a finite relevance, [n, N]."""
        return self.present & np.isfinite(self.relevance)

    def worth(self) -> Floats:
        """Return the relevance [n, N], 0 where it is not `usable`."""
        return np.where(self.usable, self.relevance, 0.0)

    @property
    def embedded(self) -> Bools:
        """Tell which candidates have an embedding, [n, N]."""
        embedded: Bools = (self.unit != 0).any(axis=2)
        return embedded

    def cosines(self) -> Floats:
        """Compute the cosine of every two candidates of a request, [n, N, N]; 0 without an embedding."""
        products: Floats = self.unit @ self.unit.transpose(0, 2, 1)
        return products


def sort_items(items: ScoredItems, length: int) -> Ints:
    """Sort by relevance: candidate indices [n, m], −1 past the end; of equals the first comes first."""
    # Three groups, since a candidate without a finite relevance still comes before padding.
    group = np.where(items.usable, 0, np.where(items.present, 1, 2))
    order: Ints = np.lexsort((-items.worth(), group), axis=1)
    lists = np.full((len(items), length), -1, np.int64)
    kept = order[:, :length]
    lists[:, : kept.shape[1]] = np.where(np.take_along_axis(items.present, kept, axis=1), kept, -1)
    return lists


def best_left(gains: Floats, left: Bools, usable: Bools) -> Ints:
    """Choose the best candidate [n] of those `left` [n, N] by finite `gains`, −1 where none is left.

    The first of equals is chosen, and candidates that are not `usable` come last.
    """
    better = left & usable
    allowed = np.where(better.any(axis=1, keepdims=True), better, left)
    chosen: Ints = np.where(allowed, gains, -np.inf).argmax(axis=1)
    return np.where(left.any(axis=1), chosen, -1)
