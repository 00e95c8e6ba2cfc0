"""Lay the queues' heads and their advance as graph nodes.

Every queue proposes its first h unchosen candidates. Slots are padded: h empty ones stand behind every queue.

Axis letters: B batch, Q queues, P = Q·h proposals of a list, W lists.
"""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Ints
from models.contract.manifest import Limits
from models.planners.graphs.graph import Graph


def first_heads(limits: Limits) -> Ints:
    """Name the padded slots of the heads at the start, [P]."""
    queue, rank = np.divmod(np.arange(limits.queues * limits.head_width), limits.head_width)
    return queue * (limits.list_length + limits.head_width) + rank


def original_slots(g: Graph, padded: str, limits: Limits) -> str:
    """Turn padded slots into original ones, int64."""
    queue = g.op("Div", padded, g.ints(limits.list_length + limits.head_width))
    return g.op("Sub", padded, g.op("Mul", queue, g.ints(limits.head_width)))


def last_of_queues(limits: Limits) -> tuple[int, ...]:
    """Name the place of every queue's last head among the heads."""
    h = limits.head_width
    return tuple(range(h - 1, limits.queues * h, h))


def advance_table(queues: int, width: int) -> Ints:
    """Tabulate the heads' advance by the proposal that was taken, [P, P].

    Width 1: how far each queue's head moves. Wider: where each proposal of the next step stands among this step's
    proposals followed by one fresh item per queue.
    """
    if width == 1:
        return np.eye(queues, dtype=np.int64)
    p = queues * width
    table = np.tile(np.arange(p), (p, 1))
    for winner in range(p):
        queue = winner // width
        last = (queue + 1) * width - 1
        table[winner, winner:last] += 1
        table[winner, last] = p + queue
    return table.astype(np.int64)
