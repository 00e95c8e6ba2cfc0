"""Lay the rules of a list for queues: which slots each proposes.

A rule never takes a slot away for good: what is barred at one step may be proposed at a later one. So every queue
proposes its first h slots that are neither chosen nor barred; where they are fewer, empty ones, which lose to all
others. A list that takes an empty slot has ended, and takes only empty ones from there.
`references/step_rules.py` does the same one number at a time.

Axis letters: B batch, Q queues, N slots, M padded slots, L list horizon, G groups, K lists of a request at a step,
R = L·(L − 1)/2 pairs of a step and a look-back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.manifest import Limits
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS
from models.planners.graphs.graph import Graph
from models.planners.graphs.rule_inputs import seen_cosines
from models.planners.graphs.slots import SlotTable

_PLACE: Final = 2.0**-10
"""What a place in the queue adds to the order of slots, where a bar adds at least 1: both exact in float32."""

_ENDED: Final = 1e6
"""Bar of filled slots in a list that has ended: more than what chosen empty slots have."""


@dataclass(frozen=True)
class QueueRules:
    """Hold what is computed once, and lay what a step needs of it.

    Groups have one more behind them: the empty slots are its picks, and the filled ones are what it bars. With beams,
    `members`, `room` and `near` have an axis of one in place of K.
    """

    g: Graph
    limits: Limits
    members: str
    """[B, M, G + 1]: 1 where a pick counts in a group."""
    across: str
    """[B, G + 1, M]: the bar that a group puts on each slot."""
    order: Sequence[str]
    """Per step [B, 1, M]: the places in the queues, behind the bars of the step alone and less 1 for `ends`."""
    room: Sequence[str]
    """Per step but the first [B, t, G + 1]: the room of each look-back, less 1."""
    near: Sequence[str]
    """Per step but the first [B, t, 1]: what `Lists.ends` has at least for picks of each look-back."""
    boosts: str
    """[B, M, 1]: factors of a slot's worth."""
    seen: str
    """[B, M, L]: (1 − λ) · the largest cosine to shown items at a step, or `NO_COSINE`."""

    @classmethod
    def lay(cls, g: Graph, table: SlotTable, window: str, groups: int) -> QueueRules:
        """Lay what all steps share; `window` is MMR's [B, 1, 1], at most L."""
        limits = table.limits
        length, by_list = limits.list_length, limits.beam_width > 1
        # Everything that needs empty slots is joined first, so that one Pad serves all.
        turned = [g.op("Transpose", name, perm=[0, 2, 1]) for name in (STEP_BARS, SEEN)]
        valid = g.op("Unsqueeze", g.op("Cast", "valid", to=1), g.ints(2))
        joined = g.concat(2, MEMBERS, *turned, g.op("Unsqueeze", LIFTS, g.ints(2)), valid)
        members, bars, seen, lifts, valid = g.split(table.pad(g, joined), 2, groups, length, length, 1, 1)
        across = g.concat(2, members, g.op("Mul", valid, g.constant(_ENDED)))
        counted = g.concat(2, members, g.op("Sub", g.constant(1.0), valid))
        places = 1 + _PLACE * np.tile(np.arange(length + limits.head_width), limits.queues)
        order = g.op("Add", g.op("Transpose", bars, perm=[0, 2, 1]), g.constant(places[None, None]))
        return cls(
            g,
            limits,
            members=g.op("Unsqueeze", counted, g.ints(1)) if by_list else counted,
            across=g.op("Transpose", across, perm=[0, 2, 1]),
            order=g.split(order, 1, *[1] * length),
            room=_by_step(g, _room(g), length, by_list),
            near=_by_step(g, g.op("Add", window, g.constant(_first_steps(length)[None, :, None])), length, by_list),
            boosts=g.op("Add", lifts, g.constant(1.0)),
            seen=seen_cosines(g, g.op("Mul", seen, valid)),
        )

    def heads(self, t: int, ends: str) -> str:
        """Find the padded slots that every queue proposes at step `t`, int64 [B, K, Q, h].

        `ends` [B, K, M] are those of `proposals.Lists`.
        """
        g, limits = self.g, self.limits
        order = g.op("Add", ends, self.order[t])
        if t:
            order = g.op("Add", order, self._bars_of_groups(t, ends))
        places = limits.list_length + limits.head_width
        by_queue = g.op("Reshape", order, g.ints(0, -1, limits.queues, places))
        _, first = g.ops("TopK", 2, by_queue, g.ints(limits.head_width), axis=3, largest=0)
        return g.op("Add", first, g.constant(places * np.arange(limits.queues)[:, None], np.int64))

    def _bars_of_groups(self, t: int, ends: str) -> str:
        """Bar the members of groups whose picks among the last steps have reached the room, [B, K, M]."""
        g, by_list = self.g, self.limits.beam_width > 1
        ends = g.op("Unsqueeze", ends, g.ints(2)) if by_list else ends
        near = g.op("Cast", g.op("GreaterOrEqual", ends, self.near[t - 1]), to=1)  # [B, (K,) t, M]
        excess = g.op("Sub", g.op("MatMul", near, self.members), self.room[t - 1])
        most = g.op("ReduceMax", excess, g.ints(1 + by_list), keepdims=int(not by_list))  # [B, K, G + 1]
        return g.op("MatMul", g.op("Relu", most), self.across)


def _room(g: Graph) -> str:
    """Lay the room of all steps, less 1, [B, R, G + 1]; none for the empty slots."""
    with_empty = g.op("Pad", ROOM, g.ints(0, 0, 0, 0, 0, 1), g.constant(1.0))
    return g.op("Sub", with_empty, g.constant(1.0))


def _first_steps(length: int) -> np.ndarray:
    """Name the first step that each pair of a step and a look-back reaches, [R]."""
    return np.array([t - back for t in range(1, length) for back in range(1, t + 1)], np.float32)


def _by_step(g: Graph, rows: str, length: int, by_list: bool) -> Sequence[str]:
    """Cut rows [B, R, …] into those of each step from the second on."""
    if length == 1:
        return ()
    together = g.op("Unsqueeze", rows, g.ints(1)) if by_list else rows
    return g.split(together, 1 + by_list, *range(1, length))
