"""Deal candidates to queues so that lists within a ruling can be made of them.

Axis letters: n candidates, k kept candidates, Q queues, L steps of the graph, C constraints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import Bools, Floats, Ints
from models.contract.manifest import Partition
from models.contract.partition import descending, partition
from models.contract.rules.quotas import Quotas, is_floor
from models.contract.rules.ruling import Constraint, Ruling
from models.contract.rules.sorting import boosted


def ruled_partition(
    scores: Floats, ruling: Ruling, strategy: Partition, places: int, *, steps: int, groups: int
) -> Ints:
    """Deal allowed candidates to Q queues of `places` by boosted `scores` [Q, n].

    Returns candidates [Q, places], best first, −1 where a queue ran out. Where all fit they are dealt as without rules.
    Else pins of the first `steps` places, and the best of those that floors need, have a place for sure, and a queue
    takes more than its quota of a group only where nothing else is left. Of constraints past `groups` that could bind,
    the least needed get too few members to do so.
    """
    scores = boosted(scores, ruling)
    out = ~ruling.allowed
    trimmed: set[int] = set()
    while True:
        dealt = _deal(scores, np.flatnonzero(~out), ruling, strategy, places, steps)
        over = [i for i in _past_groups(dealt, ruling, groups) if i not in trimmed]
        if not over:
            return dealt
        for i in over:
            out |= _too_many(ruling.constraints[i], dealt, ruling)
        trimmed.update(over)


def _deal(scores: Floats, kept: Ints, ruling: Ruling, strategy: Partition, places: int, steps: int) -> Ints:
    """Deal the `kept` candidates [k]."""
    own = scores[:, kept]
    if len(kept) <= len(scores) * places or not (ruling.pins or ruling.constraints):
        dealt = partition(own, places, strategy)
    else:
        dealt = _deal_some(own, kept, ruling, strategy, places, min(steps, ruling.length))
    return np.append(kept, -1)[dealt]


def _deal_some(own: Floats, kept: Ints, ruling: Ruling, strategy: Partition, places: int, length: int) -> Ints:
    """Deal as many of k candidates as there are places, numbered by their place in `kept`."""
    ranked = descending(own)
    ranks = np.empty_like(ranked)
    np.put_along_axis(ranks, ranked, np.broadcast_to(np.arange(len(kept)), ranked.shape), axis=1)
    quotas = Quotas.of(ruling, kept, length, places)
    queues = [_Queue(order, quotas, places) for order in ranked.tolist()]
    taken: set[int] = set()
    for must in _musts(ruling, kept, ranks.min(axis=0), length)[: len(queues) * places]:
        # To the queue that likes it best among those with a place left.
        queue = min((q for q in range(len(queues)) if queues[q].room), key=lambda q: ranks[q, must])
        queues[queue].put(must)
        taken.add(must)
    _take_turns(queues, taken, strategy)
    if any(queue.room for queue in queues):  # the quotas left places empty
        for queue in queues:
            queue.lift_quotas()
        _take_turns(queues, taken, strategy)
    dealt = np.full((len(queues), places), -1, np.int64)
    for row, queue, rank in zip(dealt, queues, ranks, strict=True):
        held = np.array(queue.held, np.int64)
        row[: len(held)] = held[rank[held].argsort()]
    return dealt


@dataclass(slots=True)
class _Queue:
    """Fill one queue from `order`, best first."""

    order: list[int]
    quotas: Quotas
    places: int
    held: list[int] = field(default_factory=list)
    _full: int = 0
    _counts: dict[int, int] = field(default_factory=dict)
    _left: Iterator[int] = iter(())

    def __post_init__(self) -> None:
        self._left = iter(self.order)

    @property
    def room(self) -> int:
        """Count the empty places."""
        return self.places - len(self.held)

    def put(self, candidate: int) -> None:
        """Put a candidate, and close the groups whose quota it fills."""
        self.held.append(candidate)
        for group in self.quotas.groups(candidate):
            count = self._counts[group] = self._counts.get(group, 0) + 1
            if count >= self.quotas.limits[group]:
                self._full |= 1 << group

    def take(self, taken: set[int], most: int) -> None:
        """Take up to `most` of the best within the quotas that nobody has taken."""
        if most <= 0:
            return
        masks = self.quotas.masks
        for best in self._left:  # what was passed over stays so, since quotas only fill
            if best in taken or masks[best] & self._full:
                continue
            self.put(best)
            taken.add(best)
            most -= 1
            if not most:
                return

    def lift_quotas(self) -> None:
        """Start again with the best, without quotas."""
        self.quotas = self.quotas.none()
        self._full = 0
        self._left = iter(self.order)


def _take_turns(queues: Sequence[_Queue], taken: set[int], strategy: Partition) -> None:
    """Fill queues one behind the other (``dfs``) or rank by rank (``bfs``)."""
    if strategy == "dfs":
        for queue in queues:
            queue.take(taken, queue.room)
        return
    for _ in range(max(queue.room for queue in queues)):
        for queue in queues:
            queue.take(taken, min(queue.room, 1))


def _musts(ruling: Ruling, kept: Ints, ranks: Ints, length: int) -> list[int]:
    """Choose the candidates that need a place, by number among the kept: pins, then those that floors need.

    `ranks` [k] is the best rank that any queue gives.
    """
    pins = [candidate for place, candidate in ruling.pins.items() if place < length]
    musts = np.searchsorted(kept, pins).tolist()
    floors = [c for c in ruling.constraints if is_floor(c)]
    if not floors:
        return list(musts)
    quotas = Quotas.of_list(ruling, kept, length)
    order = ranks.argsort(kind="stable")
    chosen = _Queue([], quotas, len(kept))
    for must in musts:
        chosen.put(must)
    for floor in floors:
        late = {candidate for place, candidate in ruling.pins.items() if place >= floor.window}
        wanted = ~floor.members[kept]
        have = sum(bool(wanted[i]) and int(kept[i]) not in late for i in chosen.held)
        need = min(floor.window, length) - floor.limit - have
        fitting = order[wanted[order]].tolist()
        for strict in (True, False):  # first those that may stand in one list, then any
            taken = set(chosen.held)
            chosen._left = iter(fitting)
            before = len(chosen.held)
            if not strict:
                chosen._full = 0
            chosen.take(taken, need)
            need -= len(chosen.held) - before
    return chosen.held


def _past_groups(dealt: Ints, ruling: Ruling, groups: int) -> list[int]:
    """Number the caps past the first `groups` that could bind, those that exceed their limits least."""
    if len(ruling.constraints) <= groups:
        return []
    excess = _excess(dealt[dealt >= 0], ruling)
    binding = np.flatnonzero(excess > 0)
    past = binding[np.argsort(-excess[binding], kind="stable")[groups:]].tolist()
    return [i for i in past if not is_floor(ruling.constraints[i])]


def _excess(candidates: Ints, ruling: Ruling) -> Ints:
    """Count by how much each constraint's members and shown items exceed its limit [C]."""
    return np.array(
        [int(c.members[candidates].sum()) + int(c.shown.sum()) - c.limit for c in ruling.constraints], np.int64
    )


def _too_many(constraint: Constraint, dealt: Ints, ruling: Ruling) -> Bools:
    """Flag the members [n] to leave out so that the constraint cannot bind: pins stay, then the first of queues."""
    by_rank = dealt.T.ravel()
    by_rank = by_rank[by_rank >= 0]
    members = by_rank[constraint.members[by_rank]].tolist()
    pinned = [i for i in members if i in set(ruling.pins.values())]
    free = [i for i in members if i not in pinned]
    spare = max(0, constraint.limit - int(constraint.shown.sum()) - len(pinned))
    out = constraint.members.copy()
    out[[*ruling.pins.values(), *free[:spare]]] = False
    return out
