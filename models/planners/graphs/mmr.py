"""Lay MMR inside the selection (SORT-Gen, eq. 6), for every family of planners.

Axis letters: B batch, N candidates, E embedding width.
"""

from __future__ import annotations

from typing import Final

from models.planners.graphs.graph import Graph

NO_COSINE: Final = -3.0
"""Stands for "these two have no cosine", below every real one. Outside the window it is added once more."""

HAS_COSINE: Final = -1.5
"""A nearest cosine above it is a real one: sums with `NO_COSINE` stay below."""

EMPTY: Final = -1e30
"""Score of a slot that cannot be chosen; scores of real items may be as low as −1e6."""


def as_column(g: Graph, name: str) -> str:
    """Lay an input [B] as float32 [B, 1]."""
    return g.op("Unsqueeze", g.op("Cast", name, to=1), g.ints(1))


def weighted_cosines(g: Graph, unit: str) -> str:
    """Compute (1 − λ) · cosine [B, N, N] of unit rows [B, N, E]; `NO_COSINE` for zero rows."""
    product = g.op("MatMul", unit, g.op("Transpose", unit, perm=[0, 2, 1]))
    weight = g.op("Unsqueeze", g.op("Sub", g.constant(1.0), as_column(g, "trade_off")), g.ints(2))
    there = g.op("Greater", g.op("ReduceSumSquare", unit, g.ints(2), keepdims=1), g.constant(0.5))
    both = g.op("And", there, g.op("Transpose", there, perm=[0, 2, 1]))
    return g.op("Where", both, g.op("Mul", product, weight), g.constant(NO_COSINE))


def charge(g: Graph, nearest: str, known: str, axis: int) -> str:
    """Charge `nearest` where `known`, else the step's mean (along `axis`); 0 if none is."""
    total = g.op("ReduceSum", g.op("Where", known, nearest, g.constant(0.0)), g.ints(axis), keepdims=1)
    number = g.op("ReduceSum", g.op("Cast", known, to=1), g.ints(axis), keepdims=1)
    mean = g.op("Div", total, g.op("Max", number, g.constant(1.0)))
    return g.op("Where", known, nearest, mean)
