"""Lay DeGRe's greedy decoding (§4.3) as one graph: encode candidates, then point L times.

The encoder runs once over all candidates. Each of L steps then computes one decoder token behind a key/value cache,
points, and takes the best of what is left; MMR takes part in that choice (λ = 1 is the paper's plain greedy). Last, the
evaluator values the finished list in one pass. `references/degre.py` does the same in plain code.

Ties go to the lower slot. A candidate without an embedding is charged the mean penalty of the step's others.

The ruled graph keeps the rules of a list as well (`pointer_rules.py`): a barred candidate stands out of one step's
choice, its probabilities and its mean penalty, and where all are barred the list ends.

Axis letters: B batch, N slots (any number, of which `valid` says which are filled), L list horizon, D width.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.manifest import Limits
from models.contract.rules.tensors import MEMBERS
from models.contract.spec import OBJECTIVES
from models.nets.blocks import Block
from models.nets.generator import PointerGenerator
from models.nets.value import ListValueModel
from models.planners.graphs.blocks import NEVER, Past, Residual, block_rows, decode_step, normalise
from models.planners.graphs.graph import Graph
from models.planners.graphs.inputs import FieldNodes, declare_features, item_columns
from models.planners.graphs.mmr import EMPTY, HAS_COSINE, NO_COSINE, as_column, charge, weighted_cosines
from models.planners.graphs.pointer_rules import PointerRules, until_the_first_end
from models.planners.graphs.rule_inputs import declare_rules
from models.planners.graphs.valuing import list_increments


class _Static(NamedTuple):
    """Hold the values that do not change between steps."""

    keys: str  # [B, D, N]: what the pointer compares with
    tokens: str  # [B, N, D]: the decoder's input, but for its position, once a candidate has been chosen
    cosine: str  # [B, N, N]: times 1 - λ
    outside: str  # [B, L, 1]: what is added to cosines with what was chosen 1, 2, … steps ago: 0 within the window
    trade_off: str  # [B, 1, 1]; with rules λ·boost [B, 1, N]
    empty: str  # [B, 1, 1]: EMPTY
    rules: PointerRules | None


class _State(NamedTuple):
    """Hold the values that a step hands to the next."""

    token: str  # [B, 1, D]
    past: list[Past | None]  # per layer, of the tokens before
    bar: str  # [B, 1, N]: 0, or EMPTY for an empty slot and for one that was taken
    nearby: list[str]  # per earlier step, the last first: cosines with what was chosen [B, 1, N]
    picked: list[str]  # per earlier step, the last first: its groups [B, 1, G]; empty without rules


class _Pick(NamedTuple):
    """Hold a step's values for the outputs."""

    scores: str  # [B, 1, N]
    penalty: str  # [B, 1, N]; empty for the first step without rules, which has none


def pointer_graph(
    generator: PointerGenerator, evaluator: ListValueModel, limits: Limits, *, valued: bool = True, groups: int = 0
) -> Graph:
    """Build the greedy decoding graph of a generator, its lists valued by an evaluator.

    Inputs are those of `declare_features` with a dynamic number of slots and ``trade_off`` float32 [B] (λ), ``window``
    int64 [B] and, if the generator is conditioned, ``objective_weights`` float32 [B, 3] (α, β, γ). With `groups` it is
    the ruled graph, which also takes the inputs of rules for so many groups.

    Outputs as those of `sort_gen.queue_graph`, except for ``score`` [B, L]: λ·P − penalty, with P the pointer's
    probability among the candidates that are left and not barred (eq. 12), which a boost multiplies. Without `valued`
    there is no ``value``, which is for benchmarks only. Raises `ValueError` if the limits do not fit the models, or the
    models each other.
    """
    for what, horizon in (("generator", generator.config.list_length), ("evaluator", evaluator.config.list_length)):
        if limits.list_length > horizon:
            raise ValueError(f"list_length {limits.list_length} is past the {what}'s horizon {horizon}")
    if limits.head_width != 1:
        raise ValueError(f"head_width: a pointer sees every candidate, so it must be 1, not {limits.head_width}")
    if limits.beam_width != 1:
        raise ValueError(f"beam_width: a pointer decodes one list, so it must be 1, not {limits.beam_width}")
    if generator.spec.fingerprint != evaluator.spec.fingerprint:
        raise ValueError("generator and evaluator must have the same feature spec")
    return _Decoder(generator, evaluator if valued else None, limits.list_length, groups).graph


class _Decoder:
    """Lay the nodes. `graph` is complete after construction."""

    def __init__(self, generator: PointerGenerator, evaluator: ListValueModel | None, length: int, groups: int) -> None:
        self.graph = g = Graph("degre")
        self.generator = generator
        self.length, self.groups = length, groups
        # The decoder's input is W·[row ‖ position]: rows and positions are projected apart and then added.
        fuse, dim = generator.fuse.weight.detach(), generator.config.dim
        self.fuse_row = fuse[:, :dim]
        self.positions = generator.position.weight.detach() @ fuse[:, dim:].T
        self.pointer_norm = _scaled(generator.norm, dim**-0.5)
        # Inputs. A hazard head reads prior logits; a generator for one mix of objectives takes no weights.
        hazards = evaluator is not None and evaluator.config.head == "hazard"
        declare_features(g, generator.spec, "N", priors=hazards)
        if generator.config.conditioned:
            g.input("objective_weights", "float32", ["B", len(OBJECTIVES)])
        g.input("trade_off", "float32", ["B"])
        g.input("window", "int64", ["B"])
        if groups:
            declare_rules(g, length, "N", groups)
        # All candidates are encoded once; then L steps are unrolled, each of which picks one of them.
        with g.scope("encode"):
            static, state = self._encode()
        picks = []
        for t in range(length):
            with g.scope(f"step{t}"):
                state, pick = self._step(t, static, state)
            picks.append(pick)
        # Outputs, and last the evaluator's value of the finished list, which has no say in the choice.
        with g.scope("finish"):
            at, there = self._finish(picks)
        if evaluator is not None:
            with g.scope("value"):
                self._value(evaluator, at, there)

    def _encode(self) -> tuple[_Static, _State]:
        g, generator = self.graph, self.generator
        missing = g.op("Unsqueeze", g.op("Sub", g.op("Cast", "valid", to=1), g.constant(1.0)), g.ints(1))  # 0 or −1
        # Encoder rows: what the pointer compares with, and (projected) the decoder's next input.
        fields = FieldNodes(g, generator.encoder.input)
        rows = self._rows(fields, self._mask(missing))
        # MMR's λ and window, per request.
        trade_off = g.op("Unsqueeze", as_column(g, "trade_off"), g.ints(2))
        zeros = g.op("Mul", trade_off, g.constant(0.0))
        window = g.op("Unsqueeze", as_column(g, "window"), g.ints(2))
        inside = g.op("Greater", window, g.constant(np.arange(self.length)[None, :, None]))
        rules = PointerRules.lay(g, self.length, trade_off) if self.groups else None
        static = _Static(
            keys=g.op("Transpose", rows, perm=[0, 2, 1]),
            tokens=g.op("MatMul", rows, g.weight(self.fuse_row.T)),
            cosine=weighted_cosines(g, "embeddings"),
            outside=g.op("Where", inside, g.constant(0.0), g.constant(NO_COSINE)),
            trade_off=rules.trade_off if rules else trade_off,
            empty=g.op("Add", zeros, g.constant(EMPTY)),
            rules=rules,
        )
        state = _State(
            token=self._start(fields, zeros),
            past=[None] * len(generator.decoder),
            bar=g.op("Mul", missing, g.constant(-EMPTY)),
            nearby=[],
            picked=[],
        )
        return static, state

    def _mask(self, missing: str) -> str:
        """Hide empty slots, −1 in `missing` [B, 1, N], from all tokens: [B, 1, N, N]."""
        g = self.graph
        column = g.op("Mul", g.op("Transpose", missing, perm=[0, 2, 1]), g.constant(0.0))
        return g.op("Unsqueeze", g.op("Add", g.op("Mul", missing, g.constant(-NEVER)), column), g.ints(1))

    def _rows(self, fields: FieldNodes, mask: str) -> str:
        """Lay `CandidateEncoder`: [B, N, D]."""
        g, encoder = self.graph, self.generator.encoder
        x = fields.token_parts()
        if encoder.mix is not None:
            mixed = g.op("Unsqueeze", g.linear(self._shares(), encoder.mix), g.ints(1))
            x = Residual(x.stream, g.op("Add", x.branch, mixed))
        for i, block in enumerate(encoder.blocks):
            with g.scope(f"block{i}"):
                x = block_rows(g, cast(Block, block), x, mask)
        return normalise(g, x, encoder.norm)[0]

    def _start(self, fields: FieldNodes, zeros: str) -> str:
        """Lay the user-guided start (eq. 11) [B, 1, D], already fused but for its position."""
        g, generator = self.graph, self.generator
        start = g.op("Add", zeros, self._fused(generator.start_bias))
        if generator.start is not None:
            weight = fields.request_columns(generator.start.weight)
            start = g.op("Add", start, self._to_token(fields.request, weight))
        if generator.start_mix is not None:
            start = g.op("Add", start, self._to_token(self._shares(), generator.start_mix.weight))
        return start

    def _to_token(self, x: str, weight: Tensor) -> str:
        """Take x [B, C] through a layer and the fusing one, as a token [B, 1, D]."""
        g = self.graph
        return g.op("Unsqueeze", g.op("MatMul", x, self._fused(weight.T)), g.ints(1))

    def _fused(self, rows: Tensor) -> str:
        return self.graph.weight(rows.detach() @ self.fuse_row.T)

    def _shares(self) -> str:
        """Divide α, β, γ by their sum, [B, 3]."""
        g = self.graph
        return g.op("Div", "objective_weights", g.op("ReduceSum", "objective_weights", g.ints(1), keepdims=1))

    def _step(self, t: int, static: _Static, state: _State) -> tuple[_State, _Pick]:
        g = self.graph
        # One decoder token, behind the cached keys and values of the tokens before.
        x = Residual(state.token, g.weight(self.positions[t]))
        past: list[Past | None] = []
        for i, (block, before) in enumerate(zip(self.generator.decoder, state.past, strict=True)):
            with g.scope(f"block{i}"):
                x, following = decode_step(g, cast(Block, block), x, before)
            past.append(following)
        # Point at what is left (taken and empty slots have a bar, as rules demand), and let MMR charge what is near.
        rules = static.rules
        bar = rules.bar(state.bar, state.picked) if rules else state.bar
        hidden, _ = normalise(g, x, self.pointer_norm)
        logits = g.op("Add", g.op("MatMul", hidden, static.keys), bar)
        probability = g.op("Mul", g.op("Softmax", logits), static.trade_off)
        penalty = self._penalty(t, static, state.nearby, bar)
        scores = g.op("Add", probability, g.op("Sub", bar, penalty) if penalty else bar)
        pick = _Pick(scores, penalty)
        if t + 1 == self.length:
            return state, pick
        # The winner is barred, becomes the next token, and lends its cosines to later penalties.
        best = g.op("ArgMax", scores, axis=2)  # [B, 1, 1], the lowest slot on ties
        taken = g.op("ScatterElements", state.bar, best, static.empty, axis=2)
        nearby = [g.take_rows(static.cosine, best), *state.nearby]
        picked = [g.take_rows(MEMBERS, best), *state.picked] if rules else []
        return _State(g.take_rows(static.tokens, best), past, taken, nearby, picked), pick

    def _penalty(self, t: int, static: _Static, nearby: list[str], bar: str) -> str:
        """Compute MMR's penalty within the window (SORT-Gen, eq. 6) [B, 1, N]; "" if nothing is near."""
        g = self.graph
        near = [static.rules.seen[t]] if static.rules else []
        if nearby:
            outside = g.slice(static.outside, 1, 0, t)
            near.append(g.op("ReduceMax", g.op("Add", g.concat(1, *nearby), outside), g.ints(1), keepdims=1))
        if not near:
            return ""
        nearest = near[0] if len(near) == 1 else g.op("Max", *near)
        # A taken item has a cosine, but is not among those whose mean the others are charged.
        known = g.op("Greater", g.op("Add", nearest, bar), g.constant(HAS_COSINE))
        return charge(g, nearest, known, axis=2)

    def _finish(self, picks: list[_Pick]) -> tuple[str, str]:
        """Give all outputs but ``value``; return slots (0 past the end) and which are filled, [B, L, 1]."""
        g, flat = self.graph, self.graph.ints(-1, self.length)
        scores = g.concat(1, *(pick.scores for pick in picks))
        # One more slot, which is empty: a request of one candidate has a runner-up too, if none that counts.
        padded = g.op("Pad", scores, g.ints(0, 0, 0, 0, 0, 1), g.constant(EMPTY))
        top, best = g.ops("TopK", 2, padded, g.ints(2), axis=2)  # [B, L, 2]
        filled = g.op("Greater", top, g.constant(EMPTY / 2))
        if self.groups:  # Later steps may have candidates again, but the list ends where none may stand.
            filled = g.op("And", filled, until_the_first_end(g, g.slice(top, 2, 0, 1), self.length))
        order, runner_up = g.split(g.op("Where", filled, best, g.ints(-1)), 2, 1, 1)
        # Past the list's end slot 0 is looked up, and the result is masked.
        there = g.op("GreaterOrEqual", order, g.ints(0))
        at = g.op("Max", order, g.ints(0))
        score = g.op("Where", there, g.slice(top, 2, 0, 1), g.constant(0.0))
        penalty = g.op("Where", there, self._charged(picks, scores, at), g.constant(0.0))
        outputs = {"order": order, "penalty": penalty, "score": score, "runner_up": runner_up}
        for name, value in outputs.items():
            dtype = "int64" if name in ("order", "runner_up") else "float32"
            g.output(name, g.op("Reshape", value, flat), dtype, ["B", self.length])
        return at, there

    def _charged(self, picks: list[_Pick], scores: str, at: str) -> str:
        """Look up the penalty of each step's choice, [B, L, 1]."""
        g = self.graph
        charged = [pick.penalty for pick in picks if pick.penalty]
        if not charged:
            return g.op("Mul", g.slice(scores, 2, 0, 1), g.constant(0.0))
        penalties = g.concat(1, *charged)
        if len(charged) < len(picks):  # The first step charged nothing.
            penalties = g.op("Pad", penalties, g.ints(0, 1, 0, 0, 0, 0), g.constant(0.0))
        return g.op("GatherElements", penalties, at, axis=2)

    def _value(self, evaluator: ListValueModel, at: str, there: str) -> None:
        """Give the output ``value``: the evaluator's increments of the finished list."""
        g = self.graph
        features = {name: g.take_rows(name, at) for name in item_columns(evaluator.spec)}
        if evaluator.config.head == "hazard":
            features["priors"] = g.take_rows("priors", at)
        if evaluator.config.cosines:
            features["embeddings"] = g.take_rows("embeddings", at)
        features["price"] = g.take_rows(g.op("Unsqueeze", "price", g.ints(2)), at)
        increments = list_increments(g, evaluator, features, self.length)
        value = g.op("Where", there, increments, g.constant(0.0))
        g.output("value", value, "float32", ["B", self.length, len(OBJECTIVES)])


def _scaled(norm: nn.LayerNorm, factor: float) -> nn.LayerNorm:
    """Copy a layer norm so that its output is `factor` times that of `norm`."""
    scaled = copy.deepcopy(norm)
    with torch.no_grad():
        scaled.weight.mul_(factor)
        scaled.bias.mul_(factor)
    return scaled
