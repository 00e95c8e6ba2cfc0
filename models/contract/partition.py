"""Deal candidates to objective queues (SORT-Gen §3.2.1).

Queues are disjoint and hold at most L candidates each, so only Q·L candidates are ever encoded. NumPy only.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.manifest import Partition

_FEW: Final = 16
"""Up to so many times as many scores as are wanted are sorted whole, which takes no longer."""


def descending(scores: Floats) -> Ints:
    """Order indices from best to worst along the last axis; equal scores keep their order."""
    return np.argsort(-scores, axis=-1, kind="stable")


def best(scores: Floats, count: int) -> Ints:
    """Order the indices of the best `count` of `scores` [n], as `descending` does."""
    if not 0 < count * _FEW < len(scores):
        return descending(scores)[:count]
    return _best_of_many(scores[np.newaxis], count)[0]


def partition(scores: Floats, length: int, strategy: Partition) -> Ints:
    """Deal n candidates to Q queues of at most `length` by finite `scores` [Q, n].

    ``dfs``: in priority order (the order of rows) each queue takes its top `length` of what is left. ``bfs``: rank by
    rank, each queue in priority order takes its best remaining candidate. Returns candidate indices [Q, length], −1
    where a queue ran out.
    """
    # Before a queue is full, the others can have taken at most (Q - 1)·length of its best, so deeper ranks are idle.
    deepest = len(scores) * length
    if deepest * _FEW < scores.shape[1]:
        ranked = np.array(_best_of_many(scores, deepest))
    else:
        ranked = descending(scores)[:, :deepest]
    return _depth_first(ranked, length) if strategy == "dfs" else _breadth_first(ranked, length)


def sorted_slots(scores: Floats, slots: Ints, length: int) -> Ints:
    """Sort the encoded candidates by `scores` [n] and name their slots: int64 [length].

    `slots` [N] says which candidate stands in each slot (−1: none). The result names slots, best first and −1 past the
    end; equal scores keep the candidates' order, as in `descending`, and scores that are not finite come last.
    """
    filled = np.flatnonzero(slots >= 0)
    candidates = slots[filled]
    worth = scores[candidates]
    ascending = np.where(np.isfinite(worth), -worth, np.inf)
    best = filled[np.lexsort((candidates, ascending))][:length]
    result = np.full(length, -1, np.int64)
    result[: len(best)] = best
    return result


def _best_of_many(scores: Floats, count: int) -> list[Ints]:
    """Order the best `count` of every row of `scores` [Q, n], of which there are more."""
    ascending = -scores
    last = np.partition(ascending, count - 1, axis=1)[:, count - 1 : count]
    # All that tie with the last, in their order, so that a stable sort keeps the first of them.
    near = np.logical_not(ascending > last)
    found = []
    for own, flags in zip(ascending, near, strict=True):
        places = np.flatnonzero(flags)
        found.append(places[np.argsort(own[places], kind="stable")[:count]])
    return found


def _depth_first(ranked: Ints, length: int) -> Ints:
    queues = np.full((len(ranked), length), -1, np.int64)
    taken = np.empty(0, np.int64)
    for queue, order in zip(queues, ranked, strict=True):
        left = order[~np.isin(order, taken)][:length]
        queue[: len(left)] = left
        taken = np.concatenate([taken, left])
    return queues


def _breadth_first(ranked: Ints, length: int) -> Ints:
    rows: list[list[int]] = [[] for _ in ranked]
    turns = [(iter(order), row) for order, row in zip(ranked.tolist(), rows, strict=True)]
    taken: set[int] = set()
    for _ in range(length):
        for order, row in turns:
            for best in order:  # goes on where the queue's last turn ended
                if best not in taken:
                    taken.add(best)
                    row.append(best)
                    break
            else:
                row.append(-1)
    return np.array(rows, np.int64).reshape(len(rows), length)
