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
from models.planners.graphs.proposals import SLOT, WORTH, Proposer
from models.planners.graphs.slots import Looked
from models.planners.graphs.valuing import ListItems, list_gains

_CERTAIN: Final = 1e38
"""More than any list can be worth."""


class Listed(NamedTuple):
    """Hold a list as the outputs show it.

    `order` int64 and `score`, [B, L], `columns` [B, L, 4]: value and penalty. Places that are not `filled` bool [B, L]
    hold −1 and zeros.
    """

    order: str
    filled: str
    score: str
    columns: str


def sort_list(g: Graph, proposer: Proposer, rows: str, gains: str, window: str) -> Listed:
    """Value the list of the input ``sort_slots`` in one causal pass.

    `rows` [B, M, …] is the table of slots, `gains` [B, C, 1] the score's weights, `window` [B, 1, 1]. An item that has
    no cosine with any of those before it is charged the mean penalty of the list's items that have; the first nothing.
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
    record = g.concat(2, worth, _penalty(g, looked.cosine, chosen, window, length), looked.bar_and_slot)
    score = g.op("Reshape", g.op("MatMul", record, g.slice(gains, 1, 0, SLOT + 1)), g.ints(-1, length))
    filled = g.op("GreaterOrEqual", "sort_slots", g.ints(0))
    columns = g.op("Where", g.op("Unsqueeze", filled, g.ints(2)), g.slice(record, 2, 0, WORTH + 1), g.constant(0.0))
    return Listed("sort_slots", filled, score, columns)


def keep_better(g: Graph, plan: Listed, listed: Listed) -> tuple[Listed, str]:
    """Keep the list of the higher total score, the plan on ties.

    The second result says whether the sort's list is kept, bool [B, 1]. A list that ends before the plan does is not
    kept.
    """
    # A sort's list that ends first gets a score of EMPTY at each place that the plan fills.
    missing = g.op("Where", plan.filled, g.constant(EMPTY), g.constant(0.0))
    score = g.op("Where", listed.filled, listed.score, missing)
    totals = [g.op("ReduceSum", scores, g.ints(1), keepdims=1) for scores in (score, plan.score)]
    lead = g.op("Sub", *totals)
    # The same list cannot be better: its lead is rounding, and the bar is out of reach.
    same = g.op("Cast", g.op("Equal", plan.order, listed.order), to=1)
    bar = g.op("Mul", g.op("ReduceMin", same, g.ints(1), keepdims=1), g.constant(_CERTAIN))
    kept = g.op("Greater", lead, bar)
    return Listed(
        order=g.op("Where", kept, listed.order, plan.order),
        filled=plan.filled,
        score=g.op("Where", kept, score, plan.score),
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


def _penalty(g: Graph, cosine: str, chosen: str, window: str, length: int) -> str:
    """Compute MMR's penalty of every item, [B, L, 1]."""
    ages = np.subtract.outer(np.arange(length), np.arange(length)).astype(np.float64)
    ages[ages < 1] = np.inf
    # Only items within the window, and only earlier ones (age at least 1), charge an item.
    inside = g.op("LessOrEqual", g.constant(ages[None]), window)
    outside = g.op("Where", inside, g.constant(0.0), g.constant(NO_COSINE))
    nearest = g.op("ReduceMax", g.op("Add", _among(g, cosine, chosen), outside), g.ints(2), keepdims=1)
    charged = charge(g, nearest, g.op("Greater", nearest, g.constant(HAS_COSINE)), axis=1)
    return g.op("Mul", charged, g.constant((np.arange(length) > 0)[None, :, None]))


def _among(g: Graph, cosines: str, chosen: str) -> str:
    """Take cosines [B, L, L] among a list's items from those with every slot [B, L, M]."""
    return g.op("FusedMatMul", cosines, chosen, domain=MICROSOFT, transB=1)
