"""Order candidates without the model, by the score formula, and make whole lists with MMR.

Whole lists are made when time is short or the engine fails. Letters: n candidates, K of them in the pool among which
MMR chooses, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.candidates import CandidateTable
from models.contract.manifest import Manifest
from models.contract.partition import best
from models.contract.slots import ScoreTable
from service.contract.schemas import Source
from service.ranking.plan import RequestPlan

_POOL_FACTOR: Final = 3
_LARGEST_POOL: Final = 128
_FORMULA: Final[Source] = "formula"

Places = list[tuple[int, Source]]


def formula_list(candidates: CandidateTable, table: ScoreTable, plan: RequestPlan, manifest: Manifest) -> Places | None:
    """Choose `plan.top_n` places by the fallback formula, as diverse as the model would.

    MMR (SORT-Gen, eq. 6) weighs formula / Σ weights, which is in the units of the model's own step value. It chooses
    among the best few by the formula, so that its cost does not grow with n. None if the formula cannot be computed.
    """
    scores = table.sort_scores(manifest.fallback)
    if scores is None:
        return None
    steps = min(plan.top_n, manifest.limits.list_length)
    size = pool_size(steps)
    # Rank no more places than are needed: at 1,000 candidates the rest would take longer than all that follows.
    ranked = rank(np.arange(len(candidates)), scores, max(size, plan.top_n))
    pool = [i for i, source in ranked[:size] if source == "formula"]
    if plan.trade_off == 1 or plan.window == 0 or not candidates.has_embeddings(np.array(pool, np.int64)):
        return ranked[: plan.top_n]
    worth, rows = scores[pool] / sum(plan.weights), candidates.embeddings(np.array(pool, np.int64))
    first = [pool[k] for k in maximal_marginal_relevance(worth, rows, plan.trade_off, plan.window, steps)]
    taken = set(first)
    rest = [place for place in ranked if place[0] not in taken]
    return [*((i, _FORMULA) for i in first), *rest][: plan.top_n]


def pool_size(steps: int) -> int:
    """Return the number of candidates among which MMR chooses for so many steps."""
    return min(_POOL_FACTOR * steps, _LARGEST_POOL)


def input_list(count: int) -> Places:
    """Return so many places in the order of the request."""
    return [(i, "input") for i in range(count)]


def rank_rest(table: ScoreTable, manifest: Manifest, picked: Sequence[int], n: int, count: int) -> Places:
    """Order the next `count` candidates after `picked` by the fallback formula, best first.

    Candidates for which the formula cannot be computed follow in the order of the request.
    """
    rest = np.delete(np.arange(n), picked) if len(picked) else np.arange(n)
    scores = table.sort_scores(manifest.fallback)
    if scores is None:
        return [(i, "input") for i in rest[:count].tolist()]
    return rank(rest, scores[rest], count)


def rank(places: Ints, scores: Floats, count: int) -> Places:
    """Take the best `count` of `places`; those without a finite score come last."""
    finite = np.isfinite(scores)
    if finite.all():
        return [(i, "formula") for i in places[best(scores, count)].tolist()]
    order: Places = [(i, "formula") for i in places[finite][best(scores[finite], count)].tolist()]
    return order + [(i, "input") for i in places[~finite][: count - len(order)].tolist()]


def maximal_marginal_relevance(scores: Floats, rows: Floats32, trade_off: float, window: int, steps: int) -> list[int]:
    """Choose up to `steps` of K items by λ·score − (1 − λ)·max cosine.

    Items are chosen one by one, and the cosine is to the last `window` of them. `rows` [K, E] have length 1, or are
    zero: such an item is charged the mean of the others' penalties in that step, and charges nobody. Ties go to the
    item that comes first. λ is `trade_off`.
    """
    n = min(steps, len(scores))
    gain = trade_off * np.asarray(scores, np.float64)
    charges = np.multiply(rows @ rows.T, 1 - trade_off, dtype=np.float64)
    known: list[bool] = np.any(rows, axis=1).tolist()
    mean_over = None if all(known) else np.array(known, np.float64)
    back = min(window, n)
    # One row per item within the window, in any order; one that charges nobody stays at minus infinity.
    recent = np.full((back, len(gain)), -np.inf)
    chosen: list[int] = []
    for step in range(n):
        value = gain
        if back and any(known[k] for k in chosen[-back:]):
            penalty = np.maximum.reduce(recent)
            if mean_over is not None:
                _charge_unknown(penalty, mean_over, known)
            value = gain - penalty
        taken = int(value.argmax())
        chosen.append(taken)
        if back:
            recent[step % back] = charges[taken] if known[taken] else -np.inf
        gain[taken] = -np.inf
        if mean_over is not None:
            mean_over[taken] = 0.0
    return chosen


def _charge_unknown(penalty: Floats, mean_over: Floats, known: Sequence[bool]) -> None:
    """Charge items without an embedding the mean of those left (`mean_over`), in place."""
    left = mean_over.sum()
    penalty[np.logical_not(known)] = penalty @ mean_over / left if left else 0.0
