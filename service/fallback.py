"""A list without the model: the bundle's score formula with MMR, in NumPy, and the order that came in below that.

The rungs of the ladder that are left when time is short or the engine fails. Letters: n candidates, K of them in the
pool among which MMR chooses, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import unit_embeddings
from models.manifest import Manifest
from service.plan import Plan
from service.queues import ScoreTable, rank_rest
from service.schemas import Candidate, Source

_POOL_FACTOR: Final = 4
_LARGEST_POOL: Final = 128

Places = list[tuple[int, Source]]


def formula_list(candidates: Sequence[Candidate], table: ScoreTable, plan: Plan, manifest: Manifest) -> Places:
    """`plan.top_n` places: by the fallback formula, diverse as far as the model itself would choose, then plain.

    MMR (SORT-Gen, eq. 6) weighs formula / Σ weights, which is in the units of the model's own step value. It chooses
    among the best few by the formula, so that its cost does not grow with n.
    """
    n = len(candidates)
    ranked = rank_rest(table, manifest.fallback, (), n, n)
    steps = min(plan.top_n, manifest.limits.list_length)
    pool = [i for i, source in ranked[: min(_POOL_FACTOR * steps, _LARGEST_POOL)] if source == "formula"]
    if plan.trade_off < 1 and plan.window > 0 and any(candidates[i].embedding for i in pool):
        scores = table.score(manifest.fallback, "", needed_by="the fallback formula")[pool] / sum(plan.weights)
        rows = unit_embeddings([candidates[i] for i in pool])
        first = [pool[k] for k in maximal_marginal_relevance(scores, rows, plan.trade_off, plan.window, steps)]
        taken = set(first)
        ranked = [(i, "formula") for i in first] + [place for place in ranked if place[0] not in taken]
    return ranked[: plan.top_n]


def input_list(plan: Plan) -> Places:
    """`plan.top_n` places in the order of the request."""
    return [(i, "input") for i in range(plan.top_n)]


def maximal_marginal_relevance(
    scores: NDArray[np.float64], rows: NDArray[np.float32], trade_off: float, window: int, steps: int
) -> list[int]:
    """Indices of up to `steps` of K items, chosen one by one by λ·score − (1 − λ)·max cosine to the last `window`.

    `rows` [K, E] have length 1, or are zero: such an item is charged the mean of the others' penalties in that step,
    and charges nobody. Ties go to the item that comes first. λ is `trade_off`.
    """
    gain = trade_off * np.asarray(scores, np.float64)
    charges = (1 - trade_off) * (rows @ rows.T).astype(np.float64)
    known: NDArray[np.bool_] = np.asarray(rows.any(axis=1))
    unknown = None if known.all() else np.flatnonzero(~known)
    chosen: list[int] = []
    open_ = np.ones(len(gain), bool)
    for _ in range(min(steps, len(gain))):
        recent = [k for k in chosen[-window:] if known[k]]
        value = gain
        if recent:
            penalty = charges[recent].max(axis=0)
            if unknown is not None:
                others = penalty[known & open_]
                penalty[unknown] = others.mean() if len(others) else 0.0
            value = gain - penalty
        best = int(np.where(open_, value, -np.inf).argmax())
        chosen.append(best)
        open_[best] = False
    return chosen
