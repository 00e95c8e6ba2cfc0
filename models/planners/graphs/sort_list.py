"""Value the plain sort's list like a plan, and keep the better of the two.

A planner that looks one item ahead can end below the sort it started from: where a dear item makes the next ones look
cheap, greedy search with even true values does. So the graph values both lists and keeps the better one.

Axis letters: B batch, L places, N slots, M padded slots, K kinds of weights of the context.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.planners.graphs.context import KINDS, Told, list_weights
from models.planners.graphs.graph import MICROSOFT, Graph
from models.planners.graphs.mmr import EMPTY, HAS_COSINE, NO_COSINE, charge
from models.planners.graphs.proposals import WORTH, Proposer
from models.planners.graphs.slots import Looked
from models.planners.graphs.valuing import ListItems, list_gains

_CERTAIN: Final = 1e38
"""More than any list can be worth."""


class Listed(NamedTuple):
    """Hold a list as the outputs show it.

    `order` int64 and `score`, [B, L], `columns` [B, L, 4]: value and penalty. Not `filled` bool [B, L]: −1, 0.
    """

    order: str
    filled: str
    score: str
    columns: str


def sort_list(g: Graph, proposer: Proposer, rows: str, gains: str, window: str) -> Listed:
    """Value the list of the input ``sort_slots`` in one causal pass.

    `rows` [B, M, …] is the table of slots, `gains` [B, C, 1] the score's weights, `window` [B, 1, 1]. An item that has
    no cosine with any of those before it is charged the mean penalty of the list's items that have; the first nothing.
    Under rules those shown stand before it.
    """
    length = proposer.limits.list_length
    # −1 stands for the last entry, which is an empty slot: without embedding, and equal to nothing.
    padded = g.op("Gather", g.constant(_padded_slots(proposer), np.int64), g.op("Unsqueeze", "sort_slots", g.ints(2)))
    looked = proposer.table.split(g, g.take_rows(rows, padded))
    slots = g.constant(np.arange(proposer.table.padded)[None, None], np.int64)
    chosen = g.op("Cast", g.op("Equal", padded, slots), to=1)  # [B, L, M]
    # Value all places at once, then weigh value and penalty as a plan's record is weighed.
    told = _told(g, proposer, looked, chosen)
    items = ListItems(looked.token, looked.columns)
    worth = g.op("Mul", list_gains(g, proposer.model, proposer.heads, items, told, length), looked.factors)
    record = g.concat(2, *proposer.record(worth, _penalty(g, looked, chosen, window, length), looked))
    score = g.op("Reshape", g.op("MatMul", record, g.slice(gains, 1, 0, proposer.slot + 1)), g.ints(-1, length))
    filled = g.op("GreaterOrEqual", "sort_slots", g.ints(0))
    columns = g.op("Where", g.op("Unsqueeze", filled, g.ints(2)), g.slice(record, 2, 0, WORTH + 1), g.constant(0.0))
    return Listed("sort_slots", filled, score, columns)


def keep_better(g: Graph, plan: Listed, listed: Listed, *, ruled: bool) -> tuple[Listed, str]:
    """Keep the list of higher score unless it ends first; tell if the sort's, bool [B, 1]."""
    # Only rules can end a plan before the sort's list.
    filled = g.op("Or", plan.filled, listed.filled) if ruled else plan.filled
    # A list that ends first gets a score of EMPTY at each place that the other fills.
    missing = g.op("Where", filled, g.constant(EMPTY), g.constant(0.0))
    score = g.op("Where", listed.filled, listed.score, missing)
    of_plan = g.op("Where", plan.filled, plan.score, missing) if ruled else plan.score
    totals = [g.op("ReduceSum", scores, g.ints(1), keepdims=1) for scores in (score, of_plan)]
    lead = g.op("Sub", *totals)
    # The same list cannot be better: its lead is rounding, and the bar is out of reach.
    same = g.op("Cast", g.op("Equal", plan.order, listed.order), to=1)
    bar = g.op("Mul", g.op("ReduceMin", same, g.ints(1), keepdims=1), g.constant(_CERTAIN))
    kept = g.op("Greater", lead, bar)
    return Listed(
        order=g.op("Where", kept, listed.order, plan.order),
        filled=filled,
        score=g.op("Where", kept, score, of_plan),
        columns=g.op("Where", g.op("Unsqueeze", kept, g.ints(2)), listed.columns, plan.columns),
    ), kept


def _padded_slots(proposer: Proposer) -> np.ndarray:
    """Name every slot's padded slot, and behind them the first empty one, [N + 1]."""
    limits = proposer.limits
    slot = np.arange(limits.slots)
    padded = slot + slot // limits.list_length * limits.head_width
    return np.append(padded, limits.list_length)


def _told(g: Graph, proposer: Proposer, looked: Looked, chosen: str) -> Told | None:
    """Lay the context's parts for the list's items; `chosen` [B, L, M] marks their slots."""
    context, length, padded = proposer.context, proposer.limits.list_length, proposer.table.padded
    if context is None:
        return None
    weights = g.op("MatMul", g.constant(list_weights(length).reshape(length * KINDS, length)), chosen)
    by_place = g.op("Reshape", weights, g.ints(-1, KINDS, padded))
    sums = context.sums(looked.pairs, by_place, (1, padded), rows=length)
    largest = context.list_largest(_among(g, looked.raw, chosen), length) if context.cosines else ""
    return context.tell(sums, largest, proposer.model.input.positions()[:length])


def _penalty(g: Graph, looked: Looked, chosen: str, window: str, length: int) -> str:
    """Compute MMR's penalty of every item, [B, L, 1]."""
    ages = np.subtract.outer(np.arange(length), np.arange(length)).astype(np.float64)
    ages[ages < 1] = np.inf
    # Only items within the window, and only earlier ones (age at least 1), charge an item.
    inside = g.op("LessOrEqual", g.constant(ages[None]), window)
    outside = g.op("Where", inside, g.constant(0.0), g.constant(NO_COSINE))
    nearest = g.op("ReduceMax", g.op("Add", _among(g, looked.cosine, chosen), outside), g.ints(2), keepdims=1)
    if looked.seen:
        # Of every item's cosines to those shown, [B, L, L], the diagonal is at its own place.
        own = g.op("Where", g.constant(np.eye(length)[None], np.bool_), looked.seen, g.constant(2 * NO_COSINE))
        nearest = g.op("Max", nearest, g.op("ReduceMax", own, g.ints(2), keepdims=1))
    known = g.op("Greater", nearest, g.constant(HAS_COSINE))
    charged = charge(g, nearest, known, axis=1)
    later = (np.arange(length) > 0)[None, :, None]
    if looked.seen:
        return g.op("Where", g.op("Or", known, g.constant(later, np.bool_)), charged, g.constant(0.0))
    return g.op("Mul", charged, g.constant(later))


def _among(g: Graph, cosines: str, chosen: str) -> str:
    """Take cosines [B, L, L] among a list's items from those with every slot [B, L, M]."""
    return g.op("FusedMatMul", cosines, chosen, domain=MICROSOFT, transB=1)
