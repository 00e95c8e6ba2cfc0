"""Lay greedy generation: one list, to which every step appends the best proposal.

Ties go to the queue of higher priority, then to the better rank.

Axis letters: B batch, Q queues, P = Q·h proposals a step, L list horizon, M padded slots, C record columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.contract.manifest import Limits
from models.planners.graphs.graph import Graph
from models.planners.graphs.mmr import EMPTY
from models.planners.graphs.proposals import WORTH, Lists, Proposer, QueueHeads, Static
from models.planners.graphs.queue_rules import QueueRules
from models.planners.graphs.sort_list import Listed


class _State(NamedTuple):
    """Hold the values that a step hands to the next."""

    heads: str  # [B, P, 1] int64: padded slot of each proposal
    lists: Lists


class _Pick(NamedTuple):
    """Hold a step's values for the outputs."""

    heads: str  # [B, P, 1]
    scores: str  # [B, P, 1]
    record: str  # [B, 1, C]: the chosen proposal's


class GreedyNodes:
    """Lay the nodes of a plan."""

    def __init__(self, g: Graph, limits: Limits, *, ruled: bool) -> None:
        self._graph = g
        self._limits = limits
        self._heads = QueueHeads(limits)
        self._proposals = limits.queues * limits.head_width
        self._advance = "" if ruled else g.constant(self._heads.advance()[..., None], np.int64)

    def plan(self, proposer: Proposer, static: Static) -> tuple[Listed, str]:
        """Lay the whole generation; returns the list and its runners-up [B, L]."""
        g = self._graph
        with g.scope("prepare"):
            if static.rules is None:
                heads = g.op("Add", static.zeros, g.constant(self._heads.first()[None, :, None]))
                state = _State(g.op("Cast", heads, to=7), proposer.start(static.zeros))
            else:
                lists = proposer.start(static.zeros)
                state = _State(self._unbarred(static.rules, 0, lists.ends), lists)
        picks = []
        for t in range(self._limits.list_length):
            with g.scope(f"step{t}"):
                state, pick = self._step(t, proposer, static, state)
            picks.append(pick)
        with g.scope("finish"):
            return self._finish(picks)

    def _step(self, t: int, proposer: Proposer, static: Static, state: _State) -> tuple[_State, _Pick]:
        g = self._graph
        # Look the queues' heads up and value each behind the list so far.
        looked = proposer.table.split(g, g.take_rows(static.rows, state.heads))
        threshold = static.thresholds[t] if static.thresholds else ""
        record, new = proposer.propose(t, looked, state.lists, threshold, self._proposals)
        scores = g.op("MatMul", record, static.gains)
        # ArgMax breaks ties by the lower index, which is the queue of higher priority, then the better rank.
        winner = g.op("ArgMax", scores, axis=1)  # [B, 1, 1]
        first = g.take_rows(record, winner)
        pick = _Pick(state.heads, scores, first)
        if t + 1 == self._limits.list_length:
            return state, pick
        # The next state: the winner's queue moves up, and chain, cache and window take the winner in.
        _, slot, carried = g.split(first, 2, proposer.slot, 1, proposer.heads.width)
        is_chosen = g.op("Equal", g.constant(np.arange(proposer.table.padded)[None, None]), slot)
        heads = "" if static.rules else self._move_on(state.heads, g.op("Reshape", winner, g.ints(-1)))
        past = [[*past, g.take_rows(kv, winner)] for past, kv in zip(state.lists.past, new, strict=True)]
        ends = g.op("Where", is_chosen, static.window_ends[t], state.lists.ends)
        if static.rules is not None:
            heads = self._unbarred(static.rules, t + 1, ends)
        return _State(heads, Lists(ends, proposer.heads.follow(state.lists.chain, carried), past)), pick

    def _move_on(self, heads: str, winner: str) -> str:
        """Advance the heads: behind the winner its queue's proposals move up by one."""
        g = self._graph
        moves = g.op("Gather", self._advance, winner)
        if self._limits.head_width == 1:
            return g.op("Add", heads, moves)
        last = g.op("Gather", heads, g.ints(*self._heads.last()), axis=1)
        return g.take_rows(g.concat(1, heads, g.op("Add", last, g.constant(1, np.int64))), moves)

    def _unbarred(self, rules: QueueRules, t: int, ends: str) -> str:
        """Find the heads at step `t` under rules, [B, P, 1]."""
        g = self._graph
        return g.op("Reshape", rules.heads(t, ends), g.ints(-1, self._proposals, 1))

    def _finish(self, picks: list[_Pick]) -> tuple[Listed, str]:
        """Put all steps together; winners are found again, with runners-up beside them."""
        g, length = self._graph, self._limits.list_length
        k = min(2, self._proposals)
        top, best = g.ops("TopK", 2, g.concat(2, *(pick.scores for pick in picks)), g.ints(k), axis=1)  # [B, k, L]
        padded = g.op("GatherElements", g.concat(2, *(pick.heads for pick in picks)), best, axis=1)
        # A step whose best scores as an empty slot found nothing: −1, and zeros beside it.
        slot = self._heads.original_slots(g, padded)
        there = g.op("Greater", top, g.constant(EMPTY / 2))
        slot = g.op("Where", there, slot, g.ints(-1))
        flat = g.ints(-1, length)
        order = g.op("Reshape", g.slice(slot, 1, 0, 1), flat)
        runner_up = g.op("Reshape", g.slice(slot, 1, 1, 2), flat) if k == 2 else g.op("Min", order, g.ints(-1))
        filled = g.op("GreaterOrEqual", order, g.ints(0))
        score = g.op("Where", filled, g.op("Reshape", g.slice(top, 1, 0, 1), flat), g.constant(0.0))
        columns = g.slice(g.concat(1, *(pick.record for pick in picks)), 2, 0, WORTH + 1)
        columns = g.op("Where", g.op("Unsqueeze", filled, g.ints(2)), columns, g.constant(0.0))
        return Listed(order, filled, score, columns), runner_up
