"""Select lists by maximal marginal relevance (MMR): relevance less the cosine to what was chosen.

It charges as the graphs do (SORT-Gen, eq. 6) and as a service does when it answers by formula: a candidate without an
embedding is charged the mean of the others that are left, and charges nobody.

Axis letters: n requests, N candidates, m places, w places of the window.
"""

from __future__ import annotations

import numpy as np

from models.baselines.selection.items import ScoredItems, best_left
from models.contract.arrays import Bools, Floats, Ints


def greedy_mmr(items: ScoredItems, length: int, trade_off: float, window: int | None = None) -> Ints:
    """Choose lists of candidate indices [n, m] one by one, −1 past the end.

    The best has the largest λ·relevance − (1 − λ)·largest cosine to the last `window` chosen. λ is `trade_off`; the
    window is the whole list for None. Of equals the first is chosen. Raises `ValueError` for a λ outside 0..1 and a
    negative window.
    """
    if not 0 <= trade_off <= 1:
        raise ValueError(f"MMR: λ must be within 0..1, not {trade_off}")
    if window is not None and window < 0:
        raise ValueError(f"MMR: the window must be at least 0, not {window}")
    rows, back = np.arange(len(items)), length if window is None else window
    gain, cosines, embedded = trade_off * items.worth(), items.cosines(), items.embedded
    lists = np.full((len(items), length), -1, np.int64)
    left, recent = items.present.copy(), list[Floats]()
    for place in range(min(length, left.shape[1])):
        value = gain - (1 - trade_off) * _charges(recent, embedded, left) if recent else gain
        chosen = lists[:, place] = best_left(value, left, items.usable)
        left[rows, chosen] = False  # −1 names the last candidate, where none is left anyway
        charging = (chosen >= 0) & embedded[rows, chosen]
        recent = [*recent, np.where(charging[:, None], cosines[rows, chosen], -np.inf)][-back:] if back else []
    return lists


def _charges(recent: list[Floats], embedded: Bools, left: Bools) -> Floats:
    """Compute every candidate's largest cosine [n, N] to the recent items, whose cosines are [w] times [n, N]."""
    nearest: Floats = np.maximum.reduce(recent)
    nearest[~np.isfinite(nearest)] = 0.0  # none of the recent items has an embedding
    known = embedded & left
    mean = (nearest * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(embedded, nearest, mean[:, None])
