"""Lay beam search as graph nodes: W lists grow, each step keeps the best continuations.

A list's rank is its score so far. Of a list's memory (its chain, heads, history, and the keys and values of what it
holds) everything lies in one tensor, so that one gather by parent a step brings it in the new order. The first step has
one list, and as long as there are fewer continuations than W all are kept. The best list at the end is the plan.

Ties go to the better list, then to the queue of higher priority, then to the better rank. Empty slots may be appended
too, at a score that loses to everything: so lists end together, and the best stays the first.

Axis letters: B batch, W lists of a request at a step, K lists that it keeps, R = B·W rows, P proposals of a list,
L list horizon, M padded slots, S state of the heads' chain, C record columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.contract.manifest import Limits
from models.planners.graphs.graph import Graph
from models.planners.graphs.mmr import EMPTY
from models.planners.graphs.proposals import WORTH, Lists, Proposer, QueueHeads, Static, slot_column
from models.planners.graphs.queue_rules import QueueRules
from models.planners.graphs.sort_list import Listed


class _PerList(NamedTuple):
    """Hold the parts of `Static` once for each list of a step: [R, …, 1] each."""

    gains: str
    thresholds: list[str]


class _Kept(NamedTuple):
    """Hold the K continuations that a step keeps.

    `best` [B, K] are their total scores and `which` [B, K] their places among all W·P. `inherited` [B, K, …] are their
    parents' memories and proposals' total scores; `taken` [B, K, …] the chosen records, keys and values.
    """

    best: str
    which: str
    inherited: str
    taken: str


class BeamNodes:
    """Lay the nodes of a plan."""

    def __init__(self, g: Graph, limits: Limits, *, ruled: bool) -> None:
        self._graph = g
        self._limits = limits
        self._heads = QueueHeads(limits)
        self._proposals = p = limits.queues * limits.head_width
        self._widths = [1]
        """Lists before every step, and behind the last."""
        for _ in range(limits.list_length - 1):
            self._widths.append(min(limits.beam_width, self._widths[-1] * p))
        self._widths.append(1)
        self._slot = slot_column(ruled=ruled)
        self._event = self._slot + 1 + 2 * p
        """What is remembered of a place: the record but for its chain, and the step's heads and total scores."""

    def plan(self, proposer: Proposer, static: Static) -> tuple[Listed, str]:
        """Lay the whole search; returns the list and its runners-up [B, L]."""
        g = self._graph
        with g.scope("prepare"):
            empty = proposer.start(static.zeros)
            if static.rules is None:
                heads = g.op("Add", static.zeros, g.constant(self._heads.first()[None, None]))
            else:
                heads = self._unbarred(static.rules, 0, empty.ends)
            memory = g.concat(2, empty.chain, empty.ends, heads, static.zeros)  # [B, 1, …]
            of_width = {w: self._per_list(proposer, static, w) for w in dict.fromkeys(self._widths[:-1])}
        for t in range(self._limits.list_length):
            with g.scope(f"step{t}"):
                memory = self._step(t, proposer, static, of_width[self._widths[t]], memory)
        with g.scope("finish"):
            return self._finish(static, memory)

    def _per_list(self, proposer: Proposer, static: Static, width: int) -> _PerList:
        thresholds = static.thresholds
        if width == 1:
            return _PerList(static.gains, thresholds)
        if thresholds:
            together = self._repeat(self._graph.concat(2, *thresholds), width, (proposer.near_rows, len(thresholds)))
            thresholds = self._split(together, 2, *[1] * len(thresholds))
        return _PerList(self._repeat(static.gains, width, (proposer.columns, 1)), thresholds)

    def _step(self, t: int, proposer: Proposer, static: Static, per_list: _PerList, memory: str) -> str:
        """Lay step `t`: memory [B, W, …] to memory [B, K, …], only events behind the last."""
        g, width, kept, p = self._graph, self._widths[t], self._widths[t + 1], self._proposals
        # Value the proposals of all lists in one batch of R = B·W rows.
        lists, heads, before = self._recall(t, proposer, memory)
        looked = proposer.table.split(g, self._rows(g.take_rows(static.rows, heads), t, p, proposer.table.columns))
        threshold = per_list.thresholds[t] if per_list.thresholds else ""
        record, new = proposer.propose(t, looked, lists, threshold, p)
        scores = g.op("MatMul", record, per_list.gains)
        # Rank all W·P continuations of a request by the total score of their list.
        totals = g.op("Add", scores, before) if t else scores
        ranked = g.op("Reshape", totals, g.ints(-1, width * p))
        best, index = g.ops("TopK", 2, ranked, g.ints(kept), axis=1)  # [B, K]
        # Each kept list takes over its parent's memory and its own proposal's record, keys and values.
        parent = g.op("Unsqueeze", g.op("Div", index, g.ints(p)), g.ints(2))
        siblings = g.op("Reshape", totals, g.ints(-1, width, p))
        inherited = g.take_rows(g.concat(2, memory, siblings), parent)
        own = g.op("Reshape", g.concat(2, record, *new), g.ints(-1, width * p, sum(self._own_sizes(proposer))))
        taken = g.take_rows(own, g.op("Unsqueeze", index, g.ints(2)))
        return self._remember(t, proposer, static, _Kept(best, index, inherited, taken))

    def _recall(self, t: int, proposer: Proposer, memory: str) -> tuple[Lists, str, str]:
        """Unpack a memory [B, W, …]: lists by row, heads int64 [B, W·P, 1], totals [R, 1, 1]."""
        g = self._graph
        sizes = self._sizes(t, proposer)
        rows = self._rows(memory, t, 1, sum(sizes))
        chain, ends, heads, before, *rest = g.split(rows, 2, *sizes)
        slots = g.op("Reshape", g.op("Cast", heads, to=7), g.ints(-1, self._widths[t] * self._proposals, 1))
        layers = len(proposer.model.blocks)
        past: list[list[str]] = [[] for _ in range(layers)]
        if t:
            cache = g.op("Reshape", rest[1], g.ints(-1, t, sizes[-1] // t))
            past = [[piece] for piece in self._split(cache, 2, *[sizes[-1] // t // layers] * layers)]
        return Lists(ends, chain, past), slots, before

    def _remember(self, t: int, proposer: Proposer, static: Static, kept: _Kept) -> str:
        """Pack the memory of the lists that were kept."""
        g = self._graph
        inherited = g.split(kept.inherited, 2, *self._sizes(t, proposer), self._proposals)
        chain, ends, heads, _, *past, siblings = inherited
        events, cache = past or ("", "")
        worth, slot, carried, new = g.split(kept.taken, 2, *self._own_sizes(proposer))
        event = [events] * bool(t) + [worth, slot, heads, siblings]
        if t + 1 == self._limits.list_length:
            return g.concat(2, *event)
        # In the order of `_sizes`: chain, ends, heads, total, then events and cache, each one step longer.
        is_chosen = g.op("Equal", g.constant(np.arange(proposer.table.padded)[None, None]), slot)
        chain = proposer.heads.follow(chain, carried)
        ends = g.op("Where", is_chosen, static.window_ends[t], ends)
        if static.rules is None:
            heads = self._move_on(heads, kept.which, self._widths[t])
        else:
            heads = self._unbarred(static.rules, t + 1, ends)
        total = g.op("Unsqueeze", kept.best, g.ints(2))
        return g.concat(2, chain, ends, heads, total, *event, *[cache] * bool(t), new)

    def _unbarred(self, rules: QueueRules, t: int, ends: str) -> str:
        """Find the heads at step `t` under rules, [B, K, P]."""
        g = self._graph
        return g.op("Cast", g.op("Reshape", rules.heads(t, ends), g.ints(0, -1, self._proposals)), to=1)

    def _move_on(self, heads: str, index: str, width: int) -> str:
        """Advance the heads [B, K, P] behind the items at `index` [B, K] of all proposals."""
        g, limits = self._graph, self._limits
        table = np.tile(self._heads.advance(), (width, 1))
        if limits.head_width == 1:
            return g.op("Add", heads, g.op("Gather", g.constant(table), index))
        fresh = g.op("Add", g.op("Gather", heads, g.ints(*self._heads.last()), axis=2), g.constant(1.0))
        moves = g.op("Gather", g.constant(table, np.int64), index)
        return g.op("GatherElements", g.concat(2, heads, fresh), moves, axis=2)

    def _finish(self, static: Static, memory: str) -> tuple[Listed, str]:
        """Put the events of the best list together."""
        g, length, p = self._graph, self._limits.list_length, self._proposals
        events = g.op("Reshape", memory, g.ints(-1, length, self._event))
        worth, slot, heads, totals = g.split(events, 2, self._slot, 1, p, p)
        score = g.op("MatMul", worth, g.slice(static.gains, 1, 0, self._slot))
        # The runner-up is the best of what else was proposed for the same list.
        rivals = g.op("Where", g.op("Equal", heads, slot), g.constant(2 * EMPTY), totals)
        second, which = g.ops("TopK", 2, rivals, g.ints(1), axis=2)
        both = g.op("Cast", g.concat(2, slot, g.op("GatherElements", heads, which, axis=2)), to=7)
        there = g.op("Greater", g.concat(2, score, second), g.constant(EMPTY / 2))
        slots = g.op("Where", there, self._heads.original_slots(g, both), g.ints(-1))
        order, runner_up = (g.op("Reshape", x, g.ints(-1, length)) for x in g.split(slots, 2, 1, 1))
        # Past the list's end the outputs are zeros.
        filled = g.op("GreaterOrEqual", order, g.ints(0))
        columns = g.concat(2, g.slice(worth, 2, 0, WORTH + 1), score)
        columns = g.op("Where", g.op("Unsqueeze", filled, g.ints(2)), columns, g.constant(0.0))
        columns, score = g.split(columns, 2, WORTH + 1, 1)
        return Listed(order, filled, g.op("Reshape", score, g.ints(-1, length)), columns), runner_up

    def _sizes(self, t: int, proposer: Proposer) -> list[int]:
        """Count a memory's columns before step `t`: chain, ends, heads, total, events, cache."""
        state = [proposer.heads.width, proposer.table.padded, self._proposals, 1]
        return state + ([t * self._event, t * self._own_sizes(proposer)[-1]] if t else [])

    def _own_sizes(self, proposer: Proposer) -> list[int]:
        """Count a proposal's columns: its record, cut as `_remember` needs it, keys and values."""
        return [self._slot, 1, proposer.heads.width, 2 * proposer.model.config.dim * len(proposer.model.blocks)]

    def _rows(self, x: str, t: int, each: int, columns: int) -> str:
        """Reshape [B, W·`each`, `columns`] to [R, `each`, `columns`], with the W of step `t`."""
        return x if self._widths[t] == 1 else self._graph.op("Reshape", x, self._graph.ints(-1, each, columns))

    def _repeat(self, x: str, width: int, size: tuple[int, int]) -> str:
        """Repeat every row of [B, X, Y] `width` times: [B·`width`, X, Y]."""
        g = self._graph
        wide = g.op("Expand", g.op("Unsqueeze", x, g.ints(1)), g.ints(1, width, 1, 1))
        return g.op("Reshape", wide, g.ints(-1, *size))

    def _split(self, x: str, axis: int, *sizes: int) -> list[str]:
        return self._graph.split(x, axis, *sizes) if len(sizes) > 1 else [x]
