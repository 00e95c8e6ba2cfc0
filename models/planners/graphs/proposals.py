"""Lay the values of candidates appended to a list: the inside of every generation step.

`greedy.py` and `beams.py` choose the candidates that are proposed, and take from them.

Axis letters: B batch, R rows (the lists that are looked at together), P proposals for each, L list horizon, M padded
slots, D width, Q queues, S state of the heads' chain, C columns of a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import numpy as np

from models.contract.arrays import Ints
from models.contract.manifest import Limits
from models.contract.spec import OBJECTIVES
from models.nets.blocks import Block
from models.nets.value import ListValueModel
from models.planners.graphs.blocks import NEVER, Residual, block_step, normalise
from models.planners.graphs.context import KINDS, ContextNodes, Told, weights_at
from models.planners.graphs.graph import Graph
from models.planners.graphs.heads import heads_of
from models.planners.graphs.mmr import HAS_COSINE, NO_COSINE, as_column, charge
from models.planners.graphs.queue_rules import QueueRules
from models.planners.graphs.slots import Looked, SlotTable

# A proposal's record: Δclick, Δconversion, ΔGMV, penalty, under rules the three times the boost, bar (0, or EMPTY for
# an empty slot), padded slot, and what the heads' chain carries on. Its score is its product with the gains; slot and
# chain weigh nothing, and where there are boosted increments the raw ones weigh nothing either.
WORTH: Final = 3


def slot_column(*, ruled: bool) -> int:
    """Name the column of a record that holds the padded slot; the one before it is the bar."""
    return WORTH + 2 + WORTH * ruled


class Static(NamedTuple):
    """Hold the values that do not change between steps."""

    rows: str  # [B, M, …], see `slots.SlotTable`
    gains: str  # [B, C, 1]
    window_ends: list[str]  # L values [B, 1, 1]: the last step that looks back on what was chosen at step t
    thresholds: list[str]  # L values, or none, see `Proposer.thresholds`
    window: str  # [B, 1, 1]
    zeros: str  # [B, 1, 1]
    rules: QueueRules | None


class Lists(NamedTuple):
    """Hold R lists so far.

    `ends` [R, 1, M]: the last step that looks back on a padded slot, −1 if it was never chosen. `chain` [R, 1, S].
    `past`: per layer the keys and values of what was chosen, in pieces [R, t, 2·D] that follow one another.
    """

    ends: str
    chain: str
    past: list[list[str]]


class Proposals(NamedTuple):
    """Hold records [R, P, C] of proposals, and per layer their keys and values [R, P, 2·D]."""

    record: str
    keys_values: list[str]


class Proposer:
    """Value proposals at every step. One per graph; making it lays no nodes."""

    def __init__(self, g: Graph, model: ListValueModel, limits: Limits, *, ruled: bool) -> None:
        self._graph = g
        self.model = model
        self.limits = limits
        self.slot = slot_column(ruled=ruled)
        self.heads = heads_of(g, model)
        self.context = ContextNodes(g, model) if model.uses_context else None
        self.table = SlotTable(model, limits, self.heads, self.context, ruled)
        self._positions = model.input.positions().detach()

    @property
    def columns(self) -> int:
        """Count C, the columns of a record."""
        return self.slot + 1 + self.heads.width

    @property
    def near_rows(self) -> int:
        """Count the rows of a step's threshold; 0 without context."""
        return 0 if self.context is None else 1 + KINDS + self.context.cosines

    def start(self, zeros: str) -> Lists:
        """Make the empty list of every request, from zeros [B, 1, 1]."""
        ends = self._graph.op("Add", zeros, self._graph.constant(np.full((1, 1, self.table.padded), -1.0)))
        return Lists(ends, self.heads.start(zeros), [[] for _ in self.model.blocks])

    def gains(self, zero: str, units: Mapping[str, float]) -> str:
        """Weigh a record's columns in its score, [B, C, 1]: λ·w_o / (s_o·Σw) for increments, −1, 1, zeros."""
        g = self._graph
        total = g.op("ReduceSum", "objective_weights", g.ints(1), keepdims=1)
        weights = g.op("Mul", "objective_weights", as_column(g, "trade_off"))
        scale = np.array([units[o] for o in OBJECTIVES], np.float32)
        per_unit = g.op("Div", weights, g.op("Mul", total, g.constant(scale[None])))
        behind = [0.0] * (self.columns - self.slot)
        if self.table.ruled:
            raw = g.op("Add", zero, g.constant([[0.0] * WORTH + [-1.0]]))
            weights = g.concat(1, raw, per_unit, g.op("Add", zero, g.constant([[1.0, *behind]])))
        else:
            weights = g.concat(1, per_unit, g.op("Add", zero, g.constant([[-1.0, 1.0, *behind]])))
        return g.op("Unsqueeze", weights, g.ints(2))

    def thresholds(self, window: str) -> list[str]:
        """Make each step's thresholds [B, 1 + KINDS (+ 1), 1] on the age of earlier items.

        An earlier item counts if the last step that looks back on it is at least the threshold. In this order: for MMR,
        for each kind of weight of the context, and with embeddings for the largest cosine. Without context, constants
        say the same and there is nothing here.
        """
        if self.context is None:
            return []
        g, length, rows = self._graph, self.limits.list_length, self.near_rows
        steps = np.zeros((rows, length))
        steps[0] = np.arange(length)
        for t in range(1, length):
            steps[1 : 1 + KINDS, t] = weights_at(t)[0]
        of_window = np.ones((rows, 1))
        of_window[0] = 0
        all_steps = g.op("Add", g.op("Mul", window, g.constant(of_window[None])), g.constant(steps[None]))
        return g.split(all_steps, 2, *[1] * length)

    def propose(self, t: int, looked: Looked, lists: Lists, threshold: str, proposals: int) -> Proposals:
        """Value P candidates at step `t` of R lists [R, P, …]; `threshold` [R, …, 1], "" without context."""
        g = self._graph
        outside, told = self._context(t, looked, lists.ends, threshold, proposals)
        gains, carried, new = self._gains(t, looked, lists, told, proposals)
        # `models.nets.value.priced`: the factors are 1, 1 and the price.
        worth = g.op("Mul", gains, looked.factors)
        penalty = self._penalty(t, looked, lists.ends, outside)
        return Proposals(g.concat(2, *self.record(worth, penalty, looked), carried), new)

    def record(self, worth: str, penalty: str, looked: Looked) -> list[str]:
        """Lay the parts of a record but for the chain, [R, P, …] each."""
        boosted = [self._graph.op("Mul", worth, looked.boost)] if self.table.ruled else []
        return [worth, penalty, *boosted, looked.bar_and_slot]

    def _context(self, t: int, looked: Looked, ends: str, threshold: str, proposals: int) -> tuple[str, Told | None]:
        """Mark the slots outside MMR's window for `_penalty`, and lay the context's parts.

        Returns ("", None) without context and at the first step.
        """
        g, context = self._graph, self.context
        if context is None or t == 0:
            return "", None
        # One comparison marks the earlier items for MMR, for each kind of weight, and for the largest cosine.
        weights = [*weights_at(t)[1], *[0.0] * context.cosines]
        inside = np.array([0.0, *weights])[:, None]
        outside = np.array([NO_COSINE, *[0.0] * KINDS, *[NO_COSINE] * context.cosines])[:, None]
        near = g.op("GreaterOrEqual", ends, threshold)
        weighed = g.op("Where", near, g.constant(inside), g.constant(outside))
        outside_window, counted, *rest = g.split(weighed, 1, 1, KINDS, *[1] * context.cosines)
        # The context's features are weighted sums of pairs, and the largest cosine.
        sums = context.sums(looked.pairs, counted, (proposals, self.table.padded))
        largest = g.op("ReduceMax", g.op("Add", looked.raw, rest[0]), g.ints(2), keepdims=1) if rest else ""
        return outside_window, context.tell(sums, largest, self._positions[t : t + 1])

    def _gains(
        self, t: int, looked: Looked, lists: Lists, told: Told | None, proposals: int
    ) -> tuple[str, str, list[str]]:
        """Run blocks and heads: gains [R, P, 3], parts in the chain [R, P, S], keys and values."""
        g = self._graph
        # Each proposal attends to the list so far and to itself, not to the other proposals.
        own = np.where(np.eye(proposals) > 0, 0.0, NEVER)
        mask = g.constant(np.concatenate([np.zeros((proposals, t)), own], axis=1)[None, None])
        x = Residual(looked.token, told.token if told is not None and told.token else g.weight(self._positions[t]))
        new = []
        for i, (block, past) in enumerate(zip(self.model.blocks, lists.past, strict=True)):
            with g.scope(f"block{i}"):
                x, keys_values = block_step(g, cast(Block, block), x, mask, past)
            new.append(keys_values)
        normed, _ = normalise(g, x, self.model.norm)
        extra = looked.columns if told is None else [told.values, *looked.columns]
        gains, carried = self.heads.gains(t, normed, extra, lists.chain)
        return gains, carried, new

    def _penalty(self, t: int, looked: Looked, ends: str, outside: str) -> str:
        """Compute MMR's penalty (SORT-Gen, eq. 6): [R, P, 1]; 0 if nothing was chosen, and nothing shown.

        It is (1 − λ) · the largest cosine to the items chosen within the window, and under rules to those shown.
        `outside` [R, 1, M] is 0 for slots within the window and `NO_COSINE` for others, "" if that is to be found.
        """
        g = self._graph
        if t == 0 and not self.table.ruled:
            return g.op("Mul", g.slice(looked.cosine, 2, 0, 1), g.constant(0.0))
        seen = g.slice(looked.seen, 2, t, t + 1) if self.table.ruled else ""
        nearest = self._nearest(t, looked.cosine, ends, outside) if t else seen
        nearest = g.op("Max", nearest, seen) if t and seen else nearest
        return charge(g, nearest, g.op("Greater", nearest, g.constant(HAS_COSINE)), axis=1)

    def _nearest(self, t: int, cosine: str, ends: str, outside: str) -> str:
        """Find the largest of `cosine` [R, P, M] to chosen slots, [R, P, 1]; low without one."""
        g = self._graph
        if not outside:
            inside = g.op("GreaterOrEqual", ends, g.constant(float(t)))
            outside = g.op("Where", inside, g.constant(0.0), g.constant(NO_COSINE))
        return g.op("ReduceMax", g.op("Add", cosine, outside), g.ints(2), keepdims=1)


@dataclass(frozen=True)
class QueueHeads:
    """Place the queues' heads: every queue proposes its first h unchosen candidates.

    Slots are padded: h empty ones stand behind every queue. P = Q·h are the proposals of a list.
    """

    limits: Limits

    def first(self) -> Ints:
        """Name the padded slots of the heads at the start, [P]."""
        queue, rank = np.divmod(np.arange(self.limits.queues * self.limits.head_width), self.limits.head_width)
        return queue * (self.limits.list_length + self.limits.head_width) + rank

    def last(self) -> tuple[int, ...]:
        """Name the place of every queue's last head among the heads."""
        h = self.limits.head_width
        return tuple(range(h - 1, self.limits.queues * h, h))

    def original_slots(self, g: Graph, padded: str) -> str:
        """Turn padded slots into original ones, int64."""
        queue = g.op("Div", padded, g.ints(self.limits.list_length + self.limits.head_width))
        return g.op("Sub", padded, g.op("Mul", queue, g.ints(self.limits.head_width)))

    def advance(self) -> Ints:
        """Tabulate the heads' advance by the proposal that was taken, [P, P].

        Width 1: how far each queue's head moves. Wider: where each proposal of the next step stands among this step's
        proposals followed by one fresh item per queue.
        """
        queues, width = self.limits.queues, self.limits.head_width
        if width == 1:
            return np.eye(queues, dtype=np.int64)
        p = queues * width
        table = np.tile(np.arange(p), (p, 1))
        for winner, last in enumerate(np.repeat(self.last(), width)):
            table[winner, winner:last] += 1
            table[winner, last] = p + winner // width
        return table.astype(np.int64)
