"""A value model's heads, and the valuing of a whole list, as graph nodes.

Knows nothing about how a list came about. Axis letters: B batch, T positions, D width, L' thresholds of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
import torch

from models.blocks import Block
from models.heads import CountHead
from models.planners.graphs.blocks import Residual, block_rows, close, normalise
from models.planners.graphs.graph import Graph
from models.planners.graphs.inputs import token_parts
from models.value import ListValueModel

# Expected clicks, conversions, and conversions again: the price turns the last into GMV.
_SUMMED: Final = ((1, 0, 0), (0, 1, 1))


class JointHeads:
    """Both heads of a value model as one pair of products, [D, 2·D] and [2·D, 2·L']."""

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        heads = [cast(CountHead, head) for head in model.heads.values()]
        self._graph = g
        self.thresholds = model.config.list_length
        self._hidden = g.weight(torch.cat([head.hidden.weight for head in heads]).T)
        self._out = g.weight(torch.block_diag(*(head.out.weight for head in heads)).T)  # type: ignore[no-untyped-call]
        self._bias = g.weight(torch.cat([head.out.bias for head in heads]))

    def probabilities(self, x: str) -> str:
        """σ(logit) of every threshold, first the clicks' [..., 2·L'], from [..., D]."""
        g = self._graph
        hidden = g.op("Relu", g.op("MatMul", x, self._hidden))
        return g.op("Sigmoid", g.op("Add", g.op("MatMul", hidden, self._out), self._bias))

    def counts(self, reached: str, position: int | None = None) -> str:
        """Σ over thresholds i ≤ `position` (all if None): clicks, conversions, conversions, [..., 3]."""
        # E[j] = Σ_{i≤j} p[i,j] (`models.value.expected_counts`) is a product with ones at the possible thresholds.
        last = self.thresholds if position is None else position
        possible = (np.arange(self.thresholds) <= last).astype(np.float32)
        return self._graph.op("MatMul", reached, self._graph.constant(np.kron(np.array(_SUMMED), possible[:, None])))


def list_increments(g: Graph, model: ListValueModel, features: Mapping[str, str], length: int) -> str:
    """(Δclick, Δconversion, ΔGMV) of every item of a list behind those before it, [B, T, 3], T = `length`.

    `features` names the list's own features: those of `declare_features` with T in place of the candidates, and
    ``price`` as [B, T, 1]. One causal pass; either input block and either head.
    """
    tokens = token_parts(g, model.input, features)
    positions = g.weight(model.input.positions()[:length])
    x = Residual(close(g, tokens), positions)
    for i, block in enumerate(model.blocks):
        with g.scope(f"block{i}"):
            x = block_rows(g, cast(Block, block), x)
    normed, _ = normalise(g, x, model.norm)
    heads = JointHeads(g, model)
    probabilities = heads.probabilities(normed)
    rises = _chain(g, heads, probabilities, length) if model.config.head == "monotone" else None
    deltas = _differences(g, heads, probabilities, length) if rises is None else heads.counts(rises)
    # `models.value.increments`: the factors are 1, 1 and the price.
    factors = g.op("Add", g.op("Mul", features["price"], g.constant([0.0, 0.0, 1.0])), g.constant([1.0, 1.0, 0.0]))
    return g.op("Mul", deltas, factors)


def _differences(g: Graph, heads: JointHeads, reached: str, length: int) -> str:
    """Independent thresholds: the expected counts after each position less those before it, [B, T, 3]."""
    possible = np.tril(np.ones((length, heads.thresholds), np.float32))
    counts = heads.counts(g.op("Mul", reached, g.constant(np.tile(possible, (1, 2)))))
    return g.op("MatMul", g.constant(np.eye(length) - np.eye(length, k=-1)), counts)


def _chain(g: Graph, heads: JointHeads, hazards: str, length: int) -> str:
    """Monotone thresholds: by how much each position raises P(≥ i) (`models.heads.MonotoneHead`), [B, T, 2·L']."""
    n = heads.thresholds
    shift = g.constant(np.kron(np.eye(2), np.eye(n, k=1) - np.eye(n)))  # P(≥ i − 1) − P(≥ i), for i > 1 ...
    first = g.constant(np.tile(np.eye(n)[0], 2))  # ... and P(≥ 0) = 1
    rises: list[str] = []
    reached = ""
    for hazard in g.split(hazards, 1, *[1] * length) if length > 1 else [hazards]:
        below = g.op("Add", g.op("MatMul", reached, shift), first) if reached else first
        rises.append(g.op("Mul", hazard, below))
        reached = g.op("Add", reached, rises[-1]) if reached else rises[-1]
    return g.concat(1, *rises)
