"""SORT-Gen's mask-driven fast generation (§3.2): the whole greedy construction of a list as one ONNX graph.

At each of L steps the first h unchosen items of every queue are appended to the list so far, valued in one mini-batch,
and the MMR argmax is taken. Masks hold what has been selected; a key/value cache means that a step computes Q·h tokens
and not Q·h·t. h = 1 is the paper's algorithm. `reference.py` says the same slowly and plainly.

Ties go to the queue of higher priority, then to the better rank. A candidate without an embedding is charged the mean
penalty of the step's other proposals. It knows nothing about formulas or requests: queues come filled.

Axis letters: B batch, Q queues, L list horizon, N = Q·L slots, P = Q·h proposals a step, M = Q·(L+h) padded slots,
D width, R record columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.blocks import Block
from models.manifest import Limits
from models.planners.graphs.blocks import NEVER, Residual, block_step, normalise
from models.planners.graphs.graph import Graph
from models.planners.graphs.inputs import candidate_tokens, declare_features
from models.planners.graphs.mmr import EMPTY, HAS_COSINE, NO_COSINE, as_column, charge, weighted_cosines
from models.planners.graphs.valuing import JointHeads
from models.spec import OBJECTIVES
from models.value import ListValueModel

# A proposal's record: Δclick, Δconversion, ΔGMV, penalty, bar (0, or EMPTY for an empty slot), padded slot, and the
# expected counts that its increments come from. Its score is its product with the gains; slot and counts weigh nothing.
_WORTH, _SCORED, _COUNTS = 3, 5, 3
_RECORD: Final = _SCORED + 1 + _COUNTS


class _Static(NamedTuple):
    """What does not change between steps."""

    rows: str  # [B, M, D + M + 5]: token, cosines times 1 - λ, (1, 1, price), bar, own padded slot
    gains: str  # [B, R, 1]
    window_ends: list[str]  # L values [B, 1, 1]: the last step that looks back on what was chosen at step t


class _State(NamedTuple):
    """What a step hands to the next."""

    heads: str  # [B, P, 1] int64: padded slot of each proposal
    cache: list[list[str]]  # per layer, per earlier step: keys and values of the chosen item [B, 1, 2·D]
    ends: str  # [B, 1, M]: the last step that looks back on a padded slot; -1 if never chosen
    counts: str  # [B, 1, 3]: expected counts of the list so far


class _Pick(NamedTuple):
    """What a step leaves for the outputs."""

    heads: str  # [B, P, 1]
    scores: str  # [B, P, 1]
    record: str  # [B, 1, R]: the chosen proposal's


def queue_graph(model: ListValueModel, limits: Limits, units: Mapping[str, float]) -> Graph:
    """The generation graph of a value model.

    Inputs are those of `declare_features` and ``objective_weights`` float32 [B, 3] (α, β, γ), ``trade_off`` float32
    [B] (λ) and ``window`` int64 [B]. `units` are s_o: a step is worth Σ_o w_o·Δ_o/s_o / Σ_o w_o.

    Outputs: ``order`` int64 [B, L] (slot, −1 when nothing was left), ``value`` [B, L, 3] (Δclick, Δconversion, ΔGMV,
    raw), ``penalty`` [B, L] (as subtracted), ``score`` [B, L] and ``runner_up`` int64 [B, L] (slot or −1).
    """
    if limits.queue_length != limits.list_length:
        raise ValueError(f"queue_length: must be list_length ({limits.list_length}), not {limits.queue_length}")
    if limits.list_length > model.config.list_length:
        raise ValueError(f"list_length {limits.list_length} is past the model's horizon {model.config.list_length}")
    if model.config.head != "independent":
        raise ValueError(f"the generation graph takes independent thresholds, not a {model.config.head} head")
    return _Generator(model, limits, units).graph


class _Generator:
    """Lays the nodes. `graph` is complete after construction."""

    def __init__(self, model: ListValueModel, limits: Limits, units: Mapping[str, float]) -> None:
        self.graph = Graph("sort-gen")
        self.model = model
        self.limits = limits
        self.proposals = limits.queues * limits.head_width
        self.padded = limits.queues * (limits.list_length + limits.head_width)
        self.units = np.array([units[o] for o in OBJECTIVES], np.float32)
        self.advance = self.graph.constant(_advance_table(limits.queues, limits.head_width), np.int64)
        self.positions = model.input.positions().detach()
        self.heads = JointHeads(self.graph, model)
        declare_features(self.graph, model.spec, limits.slots)
        self.graph.input("objective_weights", "float32", ["B", len(OBJECTIVES)])
        self.graph.input("trade_off", "float32", ["B"])
        self.graph.input("window", "int64", ["B"])
        with self.graph.scope("prepare"):
            static, state = self._prepare()
        picks = []
        for t in range(limits.list_length):
            with self.graph.scope(f"step{t}"):
                state, pick = self._step(t, static, state)
            picks.append(pick)
        with self.graph.scope("finish"):
            self._finish(picks)

    def _prepare(self) -> tuple[_Static, _State]:
        g = self.graph
        # The cheapest way to a batch axis: zero times something that has one.
        zero = g.op("Mul", g.op("ReduceSum", "objective_weights", g.ints(1), keepdims=1), g.constant(0.0))  # [B, 1]
        zeros = g.op("Unsqueeze", zero, g.ints(2))  # [B, 1, 1]
        window = g.op("Unsqueeze", as_column(g, "window"), g.ints(2))
        ends = g.op("Add", window, g.constant(np.arange(self.limits.list_length)[None, None]))
        static = _Static(
            rows=self._rows(zeros),
            gains=self._gains(zero),
            window_ends=g.split(ends, 2, *[1] * self.limits.list_length),
        )
        queue, rank = np.divmod(np.arange(self.proposals), self.limits.head_width)
        start = queue * (self.limits.list_length + self.limits.head_width) + rank
        state = _State(
            heads=g.op("Cast", g.op("Add", zeros, g.constant(start[None, :, None])), to=7),
            cache=[[] for _ in self.model.blocks],
            ends=g.op("Add", zeros, g.constant(np.full((1, 1, self.padded), -1.0))),
            counts=g.concat(2, *[zeros] * _COUNTS),
        )
        return static, state

    def _rows(self, zeros: str) -> str:
        """All that a step looks up about a proposal, in one matrix, with h empty slots behind every queue."""
        g, d, limits = self.graph, self.model.config.dim, self.limits
        price = g.op("Unsqueeze", "price", g.ints(2))
        valid = g.op("Unsqueeze", g.op("Cast", "valid", to=1), g.ints(2))
        joined = g.concat(2, candidate_tokens(g, self.model.input), price, valid, "embeddings")
        by_queue = g.op("Reshape", joined, g.ints(0, limits.queues, limits.list_length, -1))
        with_empty = g.op("Pad", by_queue, g.ints(0, 0, 0, 0, 0, 0, limits.head_width, 0))
        padded = g.op("Reshape", with_empty, g.ints(0, self.padded, -1))
        token = g.slice(padded, 2, 0, d)
        price = g.slice(padded, 2, d, d + 1)
        bar = g.op("Mul", g.op("Sub", g.slice(padded, 2, d + 1, d + 2), g.constant(1.0)), g.constant(-EMPTY))
        cosine = weighted_cosines(g, g.slice(padded, 2, d + 2, np.iinfo(np.int64).max))
        slot = g.op("Add", zeros, g.constant(np.arange(self.padded)[None, :, None]))
        ones = g.op("Add", zeros, g.constant(np.ones((1, self.padded, 2))))
        return g.concat(2, token, cosine, ones, price, bar, slot)

    def _gains(self, zero: str) -> str:
        """What each column of a record adds to the score: λ·w_o / (s_o·Σw) for the objectives, −1, 1, then zeros."""
        g = self.graph
        total = g.op("ReduceSum", "objective_weights", g.ints(1), keepdims=1)
        weights = g.op("Mul", "objective_weights", as_column(g, "trade_off"))
        per_unit = g.op("Div", weights, g.op("Mul", total, g.constant(self.units[None])))
        rest = g.op("Add", zero, g.constant([[-1.0, 1.0] + [0.0] * (_RECORD - _SCORED)]))
        return g.op("Unsqueeze", g.concat(1, per_unit, rest), g.ints(2))

    def _step(self, t: int, static: _Static, state: _State) -> tuple[_State, _Pick]:
        g, d = self.graph, self.model.config.dim
        rows = g.take_rows(static.rows, state.heads)
        token, cosine, factors, bar_and_slot = g.split(rows, 2, d, self.padded, _WORTH, 2)
        counts, new = self._counts(t, token, state.cache)
        # `models.value.increments`: the factors are 1, 1 and the price.
        worth = g.op("Mul", g.op("Sub", counts, state.counts), factors)
        record = g.concat(2, worth, self._penalty(t, cosine, state.ends), bar_and_slot, counts)
        scores = g.op("MatMul", record, static.gains)
        # ArgMax breaks ties by the lower index, which is the queue of higher priority, then the better rank.
        winner = g.op("ArgMax", scores, axis=1)  # [B, 1, 1]
        first = g.take_rows(record, winner)
        pick = _Pick(state.heads, scores, first)
        if t + 1 == self.limits.list_length:
            return state, pick
        _, slot, counts = g.split(first, 2, _SCORED, 1, _COUNTS)
        is_chosen = g.op("Equal", g.constant(np.arange(self.padded)[None, None]), slot)
        following = _State(
            heads=self._move_on(state.heads, g.op("Reshape", winner, g.ints(-1))),
            cache=[[*past, g.take_rows(kv, winner)] for past, kv in zip(state.cache, new, strict=True)],
            ends=g.op("Where", is_chosen, static.window_ends[t], state.ends),
            counts=counts,
        )
        return following, pick

    def _counts(self, t: int, token: str, cache: list[list[str]]) -> tuple[str, list[str]]:
        """Expected counts [B, P, 3] of the list so far plus each proposal, and the proposals' keys and values."""
        g, p = self.graph, self.proposals
        own = np.where(np.eye(p) > 0, 0.0, NEVER)
        mask = g.constant(np.concatenate([np.zeros((p, t)), own], axis=1)[None, None])
        x = Residual(token, g.constant(self.positions[t].numpy()))
        new = []
        for i, (block, past) in enumerate(zip(self.model.blocks, cache, strict=True)):
            with g.scope(f"block{i}"):
                x, keys_values = block_step(g, cast(Block, block), x, mask, past)
            new.append(keys_values)
        normed, _ = normalise(g, x, self.model.norm)
        return self.heads.counts(self.heads.probabilities(normed), t), new

    def _penalty(self, t: int, cosine: str, ends: str) -> str:
        """(1 − λ) · max cosine to what was chosen within the window (SORT-Gen, eq. 6): [B, P, 1]; 0 if nothing was."""
        g = self.graph
        if t == 0:
            return g.op("Mul", g.slice(cosine, 2, 0, 1), g.constant(0.0))
        inside = g.op("GreaterOrEqual", ends, g.constant(float(t)))
        outside = g.op("Where", inside, g.constant(0.0), g.constant(NO_COSINE))
        nearest = g.op("ReduceMax", g.op("Add", cosine, outside), g.ints(2), keepdims=1)
        return charge(g, nearest, g.op("Greater", nearest, g.constant(HAS_COSINE)), axis=1)

    def _move_on(self, heads: str, winner: str) -> str:
        """The proposals of the next step: behind the winner its queue's proposals move up by one."""
        g, q, h = self.graph, self.limits.queues, self.limits.head_width
        moves = g.op("Gather", self.advance, winner)
        if h == 1:
            return g.op("Add", heads, moves)
        last = g.op("Gather", heads, g.ints(*range(h - 1, q * h, h)), axis=1)
        return g.take_rows(g.concat(1, heads, g.op("Add", last, g.constant(1, np.int64))), moves)

    def _finish(self, picks: list[_Pick]) -> None:
        """The outputs, from what every step left. Winners are found once more, now with the runners-up beside them."""
        g, length = self.graph, self.limits.list_length
        k = min(2, self.proposals)
        top, best = g.ops("TopK", 2, g.concat(2, *(pick.scores for pick in picks)), g.ints(k), axis=1)  # [B, k, L]
        padded = g.op("GatherElements", g.concat(2, *(pick.heads for pick in picks)), best, axis=1)
        queue = g.op("Div", padded, g.ints(length + self.limits.head_width))
        slot = g.op("Sub", padded, g.op("Mul", queue, g.ints(self.limits.head_width)))
        there = g.op("Greater", top, g.constant(EMPTY / 2))
        slot = g.op("Where", there, slot, g.ints(-1))
        flat = g.ints(-1, length)
        order = g.op("Reshape", g.slice(slot, 1, 0, 1), flat)
        runner_up = g.op("Reshape", g.slice(slot, 1, 1, 2), flat) if k == 2 else g.op("Min", order, g.ints(-1))
        filled = g.op("GreaterOrEqual", order, g.ints(0))
        score = g.op("Where", filled, g.op("Reshape", g.slice(top, 1, 0, 1), flat), g.constant(0.0))
        columns = g.slice(g.concat(1, *(pick.record for pick in picks)), 2, 0, _WORTH + 1)
        columns = g.op("Where", g.op("Unsqueeze", filled, g.ints(2)), columns, g.constant(0.0))
        value, penalty = g.split(columns, 2, _WORTH, 1)
        g.output("order", order, "int64", ["B", length])
        g.output("value", value, "float32", ["B", length, len(OBJECTIVES)])
        g.output("penalty", g.op("Reshape", penalty, flat), "float32", ["B", length])
        g.output("score", score, "float32", ["B", length])
        g.output("runner_up", runner_up, "int64", ["B", length])


def _advance_table(queues: int, width: int) -> NDArray[np.int64]:
    """What `_move_on` looks up by winner.

    Width 1: how far each queue's head moves, [Q, Q, 1]. Wider: where each proposal of the next step stands among this
    step's proposals followed by one fresh item per queue, [P, P, 1].
    """
    if width == 1:
        return np.eye(queues, dtype=np.int64)[..., None]
    p = queues * width
    table = np.tile(np.arange(p), (p, 1))
    for winner in range(p):
        queue = winner // width
        last = (queue + 1) * width - 1
        table[winner, winner:last] += 1
        table[winner, last] = p + queue
    return table[..., None].astype(np.int64)
