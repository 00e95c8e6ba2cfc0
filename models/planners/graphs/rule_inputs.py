"""Declare the inputs of rules, and weigh the cosines to shown items.

Axis letters: B batch, L list horizon, N slots, G groups.
"""

from __future__ import annotations

from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, room_rows
from models.planners.graphs.graph import Graph
from models.planners.graphs.mmr import NO_COSINE, as_column


def declare_rules(g: Graph, length: int, slots: int | str, groups: int) -> None:
    """Declare the inputs of rules, which `models.contract.rules.tensors` describes."""
    shapes: dict[str, list[int | str]] = {
        STEP_BARS: [length, slots],
        MEMBERS: [slots, groups],
        ROOM: [room_rows(length), groups],
        LIFTS: [slots],
        SEEN: [length, slots],
    }
    for name, shape in shapes.items():
        g.input(name, "float32", ["B", *shape])


def seen_cosines(g: Graph, seen: str) -> str:
    """Lay (1 − λ) · the cosines that `seen` [B, …, …] holds, `NO_COSINE` where it holds none."""
    weight = g.op("Unsqueeze", g.op("Sub", g.constant(1.0), as_column(g, "trade_off")), g.ints(2))
    cosine = g.op("Mul", g.op("Sub", seen, g.constant(2.0)), weight)
    return g.op("Where", g.op("Greater", seen, g.constant(0.0)), cosine, g.constant(NO_COSINE))
