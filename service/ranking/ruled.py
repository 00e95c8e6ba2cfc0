"""Fill lists under rules, and make whole ones by the formula and MMR.

All work on one ledger, in which what stands already counts. Letters: n candidates, K of them in the pool among which
MMR chooses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from models.contract.arrays import Bools, Floats, Floats32, Ints
from models.contract.candidates import CandidateTable
from models.contract.rules.ledger import Ledger, fill
from models.contract.rules.ruling import Ruling
from models.contract.rules.sorting import boosted
from service.ranking.dealt import DealtRequest
from service.ranking.fallback import Places, pool_size, rank


def fill_places(ledger: Ledger, ranked: Places, count: int) -> Places:
    """Fill the next `count` places from `ranked`, which holds all candidates, best first."""
    source = dict(ranked)
    return [(i, source[i]) for i in fill(ledger, [i for i, _ in ranked], count)]


def rank_boosted(dealt: DealtRequest, ruling: Ruling) -> Places | None:
    """Order all candidates by the fallback formula times their boosts, if it can be computed."""
    scores = _boosted_scores(dealt, ruling)
    return None if scores is None else rank(np.arange(len(scores)), scores, len(scores))


def ruled_formula_list(dealt: DealtRequest, ruling: Ruling, ledger: Ledger) -> Places | None:
    """Choose `top_n` places as `formula_list` does, but under rules.

    At every place MMR chooses among those of the pool that may stand there; where none may, the best of all candidates
    is taken, and rules are relaxed if they must be. The items shown before count for MMR. None if the formula cannot be
    computed.
    """
    plan, candidates = dealt.plan, dealt.candidates
    scores = _boosted_scores(dealt, ruling)
    if scores is None:
        return None
    ranked = rank(np.arange(len(scores)), scores, len(scores))
    order, source = [i for i, _ in ranked], dict(ranked)
    steps = min(plan.top_n, dealt.model.manifest.limits.list_length)
    first: list[int] = []
    if plan.trade_off < 1 and plan.window:
        pool = _pool(ruling, order, steps)
        worth = np.where(np.isfinite(scores), scores, -np.inf)[pool] / sum(plan.weights)
        if ruling.seen is not None or candidates.has_embeddings(pool):
            chooser = _Chooser(candidates, pool, worth, plan.trade_off, plan.window, ruling.seen)
            first = chooser.choose(ledger, order, steps)
    return [*((i, source[i]) for i in first), *fill_places(ledger, ranked, plan.top_n - len(first))]


def _boosted_scores(dealt: DealtRequest, ruling: Ruling) -> Floats | None:
    scores = dealt.table.sort_scores(dealt.model.manifest.fallback)
    return None if scores is None else boosted(scores, ruling)


def _pool(ruling: Ruling, order: Sequence[int], steps: int) -> Ints:
    """Take the best few candidates, and those of a list within the rules."""
    best = np.asarray(order, np.int64)
    best = best[ruling.allowed[best]][: pool_size(steps)]
    return np.array(list(dict.fromkeys([*best.tolist(), *fill(Ledger(ruling), order, steps)])), np.int64)


class _Chooser:
    """Choose by λ·worth − (1 − λ)·largest cosine to the last items (SORT-Gen, eq. 6).

    The last ones may be shown items. An item without an embedding is charged the mean of the others that may stand at
    the place, and charges nobody.
    """

    def __init__(
        self,
        candidates: CandidateTable,
        pool: Ints,
        worth: Floats,
        trade_off: float,
        window: int,
        seen: Floats32 | None,
    ) -> None:
        """Take the `worth` [K] of the `pool` [K]; `seen` is that of the ruling."""
        self._candidates, self._pool = candidates, pool
        self._gain, self._share = trade_off * worth, 1 - trade_off
        self._seen = None if seen is None else seen[:, pool]
        self._rows = candidates.embeddings(pool)
        self._known = np.any(self._rows, axis=1)
        self._recent: deque[Floats32 | None] = deque(maxlen=window)

    def choose(self, ledger: Ledger, order: Sequence[int], steps: int) -> list[int]:
        """Put the next `steps` items, and return them.

        `order` ranks all candidates, for places at which none of the pool may stand.
        """
        chosen = []
        for step in range(steps):
            free = np.flatnonzero(ledger.open()[self._pool])
            if len(free):
                value = self._gain[free] - self._share * self._nearest(step, free)
                best = int(self._pool[free[value.argmax()]])
                ledger.put(best)
            else:
                best = fill(ledger, order, 1)[0]
            self._recent.append(self._cosines(best))
            chosen.append(best)
        return chosen

    def _nearest(self, step: int, free: Ints) -> Floats:
        """Find the largest cosine of each free item of the pool; 0 for none."""
        known: Bools = self._known[free]
        rows = [cosines[free] for cosines in self._recent if cosines is not None]
        if self._seen is not None:
            rows.append(self._seen[step, free])
        if not rows or not known.any():
            return np.zeros(len(free))
        largest: Floats = np.nan_to_num(np.fmax.reduce(rows).astype(np.float64), nan=0.0)
        largest[~known] = largest[known].mean()
        return largest

    def _cosines(self, candidate: int) -> Floats32 | None:
        """Compute the cosines [K] of a chosen item to the pool; None without an embedding."""
        row = self._candidates.embeddings(np.array([candidate]))[0]
        if not row.any() or len(row) != self._rows.shape[1]:
            return None
        cosines: Floats32 = self._rows @ row
        return cosines
