"""Deal candidates to objective queues (SORT-Gen §3.2.1).

Queues are disjoint and hold at most L candidates each, so only Q·L candidates are ever encoded, whatever the length of
the request. NumPy only.
"""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.manifest import Partition


def descending(scores: Floats) -> Ints:
    """Order indices from best to worst along the last axis; equal scores keep their order."""
    return np.argsort(-scores, axis=-1, kind="stable")


def partition(scores: Floats, length: int, strategy: Partition) -> Ints:
    """Deal n candidates to Q queues of at most `length` by finite `scores` [Q, n].

    ``dfs``: in priority order (the order of rows) each queue takes its top `length` of what is left. ``bfs``: rank by
    rank, each queue in priority order takes its best remaining candidate. Returns candidate indices [Q, length], −1
    where a queue ran out.
    """
    ranked = descending(scores)
    # Before a queue is full, the others can have taken at most (Q - 1)·length of its best, so deeper ranks are idle.
    ranked = ranked[:, : len(scores) * length]
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
