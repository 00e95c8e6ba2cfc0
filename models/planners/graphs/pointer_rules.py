"""Lay the rules of a list for a pointer's steps.

`references/step_rules.py` does the same one number at a time. A rule never takes a candidate away for good: what is
barred at one step may stand at a later one.

Axis letters: B batch, N slots, L list horizon, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS
from models.planners.graphs.graph import Graph
from models.planners.graphs.mmr import EMPTY
from models.planners.graphs.rule_inputs import seen_cosines


@dataclass(frozen=True)
class PointerRules:
    """Hold what is computed once, and lay what a step needs of it."""

    g: Graph
    trade_off: str
    """λ·boost [B, 1, N]."""
    across: str
    """[B, G, N]: `EMPTY` for the members of a group."""
    step_bars: Sequence[str]
    """Per step [B, 1, N]: `EMPTY` where a slot may not stand."""
    room: Sequence[str]
    """Per step but the first [B, t, G]: the room of each look-back, less 1."""
    seen: Sequence[str]
    """Per step [B, 1, N]: (1 − λ) · the largest cosine to shown items, or `NO_COSINE`."""

    @classmethod
    def lay(cls, g: Graph, length: int, trade_off: str) -> PointerRules:
        """Lay what all steps share; `trade_off` is λ [B, 1, 1]."""
        boost = g.op("Add", g.op("Unsqueeze", LIFTS, g.ints(1)), g.constant(1.0))
        empty, ones = g.constant(EMPTY), [1] * length
        return cls(
            g,
            trade_off=g.op("Mul", trade_off, boost),
            across=g.op("Mul", g.op("Transpose", MEMBERS, perm=[0, 2, 1]), empty),
            step_bars=g.split(g.op("Mul", STEP_BARS, empty), 1, *ones),
            room=g.split(g.op("Sub", ROOM, g.constant(1.0)), 1, *range(1, length)) if length > 1 else (),
            seen=g.split(seen_cosines(g, SEEN), 1, *ones),
        )

    def bar(self, left: str, picked: Sequence[str]) -> str:
        """Add the bars of one step [B, 1, N] to those of taken and empty slots, `left`.

        `picked` are the groups of what was chosen, the last first, [B, 1, G] each.
        """
        g, t = self.g, len(picked)
        bar = g.op("Add", left, self.step_bars[t])
        if t == 0:
            return bar
        # Row w of the triangle sums the last w + 1 picks. A group without room for one more is barred.
        counts = g.op("MatMul", g.constant(np.tri(t)), g.concat(1, *picked))
        excess = g.op("ReduceMax", g.op("Sub", counts, self.room[t - 1]), g.ints(1), keepdims=1)
        return g.op("Add", bar, g.op("MatMul", g.op("Relu", excess), self.across))


def until_the_first_end(g: Graph, best: str, length: int) -> str:
    """Tell which steps come before the first whose best score is `EMPTY` or lower, [B, L, 1]."""
    return g.op("Greater", g.op("MatMul", g.constant(np.tri(length)), best), g.constant(EMPTY / 2))
