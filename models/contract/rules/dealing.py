"""Deal candidates to queues so that lists within a ruling can be made of them.

Axis letters: n candidates, k kept candidates, Q queues, L steps of the graph, C constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.contract.arrays import Bools, Floats, Ints
from models.contract.manifest import Partition
from models.contract.partition import descending, partition
from models.contract.rules.musts import choose_musts, crowding
from models.contract.rules.quotas import Queue, Quotas, queue_limits
from models.contract.rules.ruling import Ruling
from models.contract.rules.sorting import boosted


def ruled_partition(
    scores: Floats, ruling: Ruling, strategy: Partition, places: int, *, steps: int, groups: int
) -> Ints:
    """Deal allowed candidates to Q queues of `places` by boosted `scores` [Q, n].

    Returns candidates [Q, places], best first, −1 where a queue ran out. Where all fit they are dealt as without rules.
    Else pins of the first `steps` places, and the best of those that floors need, have a place for sure, and a queue
    takes more than its quota of a group only where nothing else is left; of the groups of what floors need, no more are
    dealt than a list may hold. Of constraints past `groups` that could bind, the least needed get too few members to do
    so.
    """
    scores = boosted(scores, ruling)
    out = ~ruling.allowed
    trimmed: set[int] = set()
    length = min(steps, ruling.length)
    limits = queue_limits(ruling, length, places)
    while True:
        dealt = _deal(scores, np.flatnonzero(~out), ruling, strategy, places, length, limits)
        over = [i for i in _past_groups(dealt, ruling, groups) if i not in trimmed]
        if not over:
            return dealt
        out |= _too_many(over, dealt, ruling)
        trimmed.update(over)


def _deal(
    scores: Floats,
    kept: Ints,
    ruling: Ruling,
    strategy: Partition,
    places: int,
    length: int,
    limits: Mapping[int, int],
) -> Ints:
    """Deal the `kept` candidates [k]."""
    own = scores[:, kept]
    if len(kept) <= len(scores) * places or not (ruling.pins or ruling.constraints):
        dealt = partition(own, places, strategy)
    else:
        dealt = _deal_some(own, kept, ruling, strategy, places, length, Quotas.of(ruling, limits, kept))
    return np.append(kept, -1)[dealt]


def _deal_some(
    own: Floats, kept: Ints, ruling: Ruling, strategy: Partition, places: int, length: int, quotas: Quotas
) -> Ints:
    """Deal as many of k candidates as there are places, by their numbers in `kept`."""
    ranked = descending(own)
    orders = ranked.tolist()
    queues = [Queue(quotas, places) for _ in orders]
    taken = _deal_musts(queues, ranked, ruling, kept, length)
    _take_turns(queues, orders, taken, strategy)
    if any(queue.room for queue in queues):  # the quotas left places empty
        for queue in queues:
            queue.lift_quotas()
        _take_turns(queues, orders, taken, strategy)
    dealt = np.full((len(queues), places), -1, np.int64)
    for row, queue, worth in zip(dealt, queues, own, strict=True):
        held = np.sort(np.array(queue.held, np.int64))
        row[: len(held)] = held[descending(worth[held])]
    return dealt


def _deal_musts(queues: Sequence[Queue], ranked: Ints, ruling: Ruling, kept: Ints, length: int) -> set[int]:
    """Deal what must have a place.

    Returns that and what must not be dealt beside it.
    """
    if not ruling.pins and not any(c.is_floor for c in ruling.constraints):
        return set()
    ranks = np.empty_like(ranked)
    np.put_along_axis(ranks, ranked, np.broadcast_to(np.arange(len(kept)), ranked.shape), axis=1)
    best = ranks.min(axis=0)
    musts = choose_musts(ruling, kept, best, length)
    taken = set(crowding(ruling, kept, best, musts, length))
    for must in musts[: sum(queue.places for queue in queues)]:
        # To the queue that ranks it best, of those with a place left.
        chosen = next(q for q in ranks[:, must].argsort(kind="stable").tolist() if queues[q].room)
        queues[chosen].put(must)
        taken.add(must)
    return taken


def _take_turns(queues: Sequence[Queue], orders: Sequence[list[int]], taken: set[int], strategy: Partition) -> None:
    """Fill queues one behind the other (``dfs``) or rank by rank (``bfs``)."""
    for queue, order in zip(queues, orders, strict=True):
        queue.offer(order)
    if strategy == "dfs":
        for queue in queues:
            queue.take(taken, queue.room)
        return
    for _ in range(max(queue.room for queue in queues)):
        for queue in queues:
            queue.take(taken, min(queue.room, 1))


def _past_groups(dealt: Ints, ruling: Ruling, groups: int) -> list[int]:
    """Number the caps past the first `groups` that could bind.

    They are those that exceed their limits least.
    """
    if len(ruling.constraints) <= groups:
        return []
    # Pins past the graph's steps have no slot, but count in its room.
    excess = ruling.excess(np.union1d(dealt[dealt >= 0], list(ruling.pins.values())).astype(np.int64))
    binding = np.flatnonzero(excess > 0)
    past = binding[np.argsort(-excess[binding], kind="stable")[groups:]].tolist()
    return [i for i in past if not ruling.constraints[i].is_floor]


def _too_many(over: Sequence[int], dealt: Ints, ruling: Ruling) -> Bools:
    """Flag the candidates [n] to leave out so that the constraints `over` cannot bind.

    Pins stay, then the first of queues.
    """
    pinned = np.array(list(ruling.pins.values()), np.int64)
    by_rank = dealt.T.ravel()
    free = by_rank[(by_rank >= 0) & ~np.isin(by_rank, pinned)]
    spare = -ruling.excess(pinned)
    out = np.zeros(len(ruling.allowed), np.bool_)
    for i in over:
        members = ruling.constraints[i].members.copy()
        members[free[members[free]][: max(0, int(spare[i]))]] = False
        out |= members
    out[pinned] = False
    return out
