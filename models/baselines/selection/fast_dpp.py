"""Select lists by fast greedy MAP inference for determinantal point processes (DPP).

The method is that of Chen, Zhang and Zhou (NeurIPS 2018). The kernel is L_ij = q_i·S_ij·q_j with quality q_i =
exp(θ/(2(1 − θ))·relevance_i) and similarity S_ij = (1 + cosine_ij)/2, within 0..1 as in the paper. The item that makes
the determinant of the chosen items' kernel largest is appended, so each step maximises θ·relevance_i + (1 − θ)·log
d_i², where d_i² is what S_ii keeps once the chosen items explain their part. A Cholesky factor that grows by one row a
step gives d_i² in O(N·chosen) (the paper's algorithm 1); with a window its oldest row is taken out by rotations
(algorithm 2).

Axis letters: n requests, N candidates, m places, t items in the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.baselines.selection.items import ScoredItems, best_left, sort_items
from models.contract.arrays import Floats, Ints

_LEAST: Final = 1e-6
"""The least d² that is not taken for 0; embeddings of single precision leave some 1e-7 of equal items."""


def fast_dpp(items: ScoredItems, length: int, theta: float, window: int | None = None) -> Ints:
    """Choose lists of candidate indices [n, m] greedily, −1 past the end; of equals the first.

    Only the last `window` chosen items count against a next one; all for None. Where every item left repeats such ones
    (d² = 0), the other places are filled by relevance. Items without an embedding have a cosine of 0 with all others.
    Raises `ValueError` for a θ outside 0..1 (both excluded) and a negative window.
    """
    if not 0 < theta < 1:
        raise ValueError(f"DPP: θ must be between 0 and 1, not {theta}")
    if window is not None and window < 0:
        raise ValueError(f"DPP: the window must be at least 0, not {window}")
    similarity = (1 + items.cosines()) / 2
    itself = np.arange(similarity.shape[1])
    similarity[:, itself, itself] = 1.0
    factor = _Factor.empty(len(items), similarity.shape[1])
    lists = np.full((len(items), length), -1, np.int64)
    rows, left, worth = np.arange(len(items)), items.usable.copy(), theta * items.worth()
    for place in range(min(length, left.shape[1])):
        new = left & (factor.rest > _LEAST)
        left[~new.any(axis=1)] = False  # these requests are filled by relevance
        gains = worth + (1 - theta) * np.log(np.maximum(factor.rest, _LEAST))
        chosen = lists[:, place] = best_left(gains, new, new)
        left[rows, chosen] = False
        factor = factor.appended(similarity, chosen)
        if window is not None and factor.size > window:
            factor = factor.without_first()
    return _filled(lists, items)


@dataclass(frozen=True, eq=False)
class _Factor:
    """Hold a Cholesky factor of the window's S, and its part in every candidate.

    `lower` [n, t, t] is the factor V, `explained` [n, t, N] solves V·explained = S between window and candidates, and
    `rest` [n, N] is d²: 1 less the sum of squares of `explained`.
    """

    lower: Floats
    explained: Floats
    rest: Floats

    @classmethod
    def empty(cls, n: int, candidates: int) -> _Factor:
        return cls(np.zeros((n, 0, 0)), np.zeros((n, 0, candidates)), np.ones((n, candidates)))

    @property
    def size(self) -> int:
        size: int = self.lower.shape[1]
        return size

    def appended(self, similarity: Floats, chosen: Ints) -> _Factor:
        """Append an item [n] of every request; −1 appends nothing that counts."""
        n, t = len(chosen), self.size
        rows, taken = np.arange(n), (chosen >= 0)[:, None]
        own = np.where(taken, self.explained[rows, :, chosen], 0.0)
        depth = np.where(taken[:, 0], np.sqrt(np.maximum(self.rest[rows, chosen], _LEAST)), 1.0)
        row = (similarity[rows, chosen] - np.einsum("nt,ntc->nc", own, self.explained)) / depth[:, None]
        row *= taken
        lower = np.zeros((n, t + 1, t + 1))
        lower[:, :t, :t], lower[:, t, :t], lower[:, t, t] = self.lower, own, depth
        return _Factor(lower, np.concatenate([self.explained, row[:, None]], axis=1), self.rest - row**2)

    def without_first(self) -> _Factor:
        """Take out the oldest item: the factor of V[1:, 1:]·V[1:, 1:]ᵀ + v·vᵀ with v = V[1:, 0]."""
        lower, explained = self.lower[:, 1:, 1:].copy(), self.explained[:, 1:].copy()
        v, freed = self.lower[:, 1:, 0].copy(), self.explained[:, 0].copy()
        for k in range(lower.shape[1]):
            old, other = lower[:, k, k].copy(), v[:, k].copy()
            lower[:, k, k] = new = np.hypot(old, other)
            cos, sin = (old / new)[:, None], (other / new)[:, None]
            below = lower[:, k + 1 :, k].copy()
            lower[:, k + 1 :, k] = cos * below + sin * v[:, k + 1 :]
            v[:, k + 1 :] = cos * v[:, k + 1 :] - sin * below
            column = explained[:, k].copy()
            explained[:, k] = cos * column + sin * freed
            freed = cos * freed - sin * column
        return _Factor(lower, explained, self.rest + freed**2)


def _filled(lists: Ints, items: ScoredItems) -> Ints:
    """Fill the places that are left at the ends of `lists` by relevance."""
    short = np.flatnonzero((lists >= 0).sum(axis=1) < np.minimum(items.present.sum(axis=1), lists.shape[1]))
    if not len(short):
        return lists
    order = sort_items(items, items.relevance.shape[1])
    for row in short.tolist():
        taken = lists[row][lists[row] >= 0]
        rest = [i for i in order[row].tolist() if i >= 0 and i not in taken]
        places = range(len(taken), min(lists.shape[1], len(taken) + len(rest)))
        lists[row, places] = rest[: len(places)]
    return lists
