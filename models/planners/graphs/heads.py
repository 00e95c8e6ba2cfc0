"""Lay a value model's heads: an item's gains, and the chain's next state.

Three kinds, as in `models.nets.heads`. All value P alternatives for a list's next place, or all places of a list.

Axis letters: R rows (lists that are looked at together), P alternatives, T places, D width, S state of the chain,
K states of a hazard, L' thresholds of the papers' head, V values of context features before the heads' ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import Floats
from models.nets.heads import HazardHead, PlainHead
from models.nets.value import ListValueModel
from models.planners.graphs.graph import Graph

# Expected clicks, conversions, and conversions again: the price turns the last into GMV.
_SUMMED: Final = ((1, 0, 0), (0, 1, 1))
OBJECTIVES: Final = len(_SUMMED)
PRIOR_COLUMNS: Final = 2 * OBJECTIVES
"""Columns that the prior logits of an item take: π of each objective, then −π. A ReLU loses nothing of the two."""


class Heads(Protocol):
    """Value items with both counting heads of a model at once."""

    @property
    def width(self) -> int:
        """Count S, the columns of a chain's state and of an alternative's part in it."""
        ...

    @property
    def item_columns(self) -> int:
        """Count an item's columns that `gains` takes beside its hidden row: 0 or `PRIOR_COLUMNS`."""
        ...

    def start(self, zeros: str) -> str:
        """Make the empty list's state [B, 1, S], from zeros [B, 1, 1]."""
        ...

    def gains(self, place: int, x: str, extra: Sequence[str], state: str) -> tuple[str, str]:
        """Value alternatives at a place (from 0): clicks, conversions, conversions [R, P, 3].

        The second result is each one's part in the chain's next state, [R, P, S]. `x` [R, P, D] are hidden rows,
        `state` [R, 1, S] is the list's. `extra` are the values of context features [R, P, V], from the second place on
        and where the model has them, and an item's own columns.
        """
        ...

    def follow(self, state: str, carried: str) -> str:
        """Make the state [R, 1, S] behind a chosen item, from that before and the item's part."""
        ...

    def list_gains(self, x: str, extra: Sequence[str], length: int) -> str:
        """Value all T = `length` places as `gains` does, [B, T, 3], with `extra` for each."""
        ...


def heads_of(g: Graph, model: ListValueModel) -> Heads:
    """Choose the nodes of the model's heads."""
    if model.config.head == "hazard":
        return HazardNodes(g, model)
    return CountNodes(g, model) if model.config.head == "independent" else PlaceNodes(g, model)


class PlainNodes:
    """Lay both heads' MLPs as products [D, 2·D], [2·D, 2·K]: σ(logit), first the clicks'."""

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        heads = [cast(PlainHead, head) for head in model.counting_heads]
        self._graph = g
        self._hidden = g.weight(torch.cat([head.hidden.weight for head in heads]).T)
        self._out = g.weight(_block_diagonal([head.out.weight for head in heads]).T)
        self._bias = g.weight(torch.cat([head.out.bias for head in heads]))

    def __call__(self, x: str) -> str:
        """Compute the chances [..., 2·K] of rows [..., D]."""
        g = self._graph
        hidden = g.op("Relu", g.op("MatMul", x, self._hidden))
        return g.op("Sigmoid", g.op("Add", g.op("MatMul", hidden, self._out), self._bias))


class PlaceNodes:
    """Lay the heads of each place's events by themselves; a chain that nothing depends on."""

    width = 3
    item_columns = 0

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        self._graph = g
        self._chances = PlainNodes(g, model)
        self._of_clicks = model.config.head == "entire-space"

    def start(self, zeros: str) -> str:
        return self._graph.concat(2, *[zeros] * self.width)

    def gains(self, place: int, x: str, extra: Sequence[str], state: str) -> tuple[str, str]:
        del place, state
        gains = self.list_gains(x, extra, 1)
        return gains, gains

    def follow(self, state: str, carried: str) -> str:
        del state
        return carried

    def list_gains(self, x: str, extra: Sequence[str], length: int) -> str:
        del extra, length  # there are no context features, and all places are alike
        g, chances = self._graph, self._chances(x)
        if not self._of_clicks:
            return g.op("MatMul", chances, g.constant(_SUMMED))
        # pCTR · (1, pCVR, pCVR)
        clicks = g.op("MatMul", chances, g.constant(((1, 1, 1), (0, 0, 0))))
        bought = g.op("Add", g.op("MatMul", chances, g.constant(((0, 0, 0), (0, 1, 1)))), g.constant((1, 0, 0)))
        return g.op("Mul", clicks, bought)


class CountNodes:
    """Lay the papers' heads; the state is the counts. L' thresholds of each."""

    width = 3
    item_columns = 0

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        self._graph = g
        self._thresholds = model.config.list_length
        self._chances = PlainNodes(g, model)

    def start(self, zeros: str) -> str:
        return self._graph.concat(2, *[zeros] * self.width)

    def gains(self, place: int, x: str, extra: Sequence[str], state: str) -> tuple[str, str]:
        del extra  # there are none
        counts = self._counts(self._chances(x), place)
        return self._graph.op("Sub", counts, state), counts

    def follow(self, state: str, carried: str) -> str:
        del state  # the counts behind the item follow from the item's alone
        return carried

    def list_gains(self, x: str, extra: Sequence[str], length: int) -> str:
        del extra  # there are none
        g = self._graph
        possible = np.tril(np.ones((length, self._thresholds), np.float32))
        counts = self._counts(g.op("Mul", self._chances(x), g.constant(np.tile(possible, (1, 2)))))
        return g.op("MatMul", g.constant(np.eye(length) - np.eye(length, k=-1)), counts)

    def _counts(self, reached: str, place: int | None = None) -> str:
        """Sum over thresholds i ≤ `place` (all if None): clicks, conversions, conversions, [..., 3]."""
        # E[j] = Σ_{i≤j} p[i,j] (`models.nets.heads.CountHead`) is a product with ones at the possible thresholds.
        last = self._thresholds if place is None else place
        possible = (np.arange(self._thresholds) <= last).astype(np.float32)
        return self._graph.op("MatMul", reached, self._graph.constant(np.kron(np.array(_SUMMED), possible[:, None])))


class HazardNodes:
    """Lay the hazards of both counts.

    The state is q of each, and an alternative carries its flow q(i)·h(i). The skip and the context's part ride through
    the heads' shared ReLU, so together they cost one Concat: the output product then holds all weights, the
    correction's times ρ and the skip's a beside −a.
    """

    item_columns = PRIOR_COLUMNS

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        heads = model.hazard_heads
        self._graph = g
        self._states = heads[0].states
        self.width = OBJECTIVES * self._states
        self._hidden = g.weight(torch.cat([head.hidden.weight for head in heads]).T)
        # One output product for both heads: hidden layer, context values and priors stand below each other.
        with torch.no_grad():
            hidden = _block_diagonal([h.share * (h.out.weight + h.out_by_state.weight).T for h in heads])
            context = _context_rows(heads)
            priors = _prior_rows(heads)
            offsets = [head.place_offset[:, None] + head.state_offset for head in heads]  # b and c, [L, K]
            self._offsets = torch.stack(offsets, dim=1).flatten(1)  # [L, S]
            # Before the second item there is no context, and what it says of nothing is a constant.
            self._first = self._offsets[0] + torch.cat([_no_context(head) for head in heads])
        self._out = g.weight(torch.cat([hidden, context, priors]))
        self._out_first = g.weight(torch.cat([hidden, priors]))
        # A flow's sum over states is the gain; a conversion counts twice, once to be priced.
        valued = model.valued.cpu().double().numpy()
        self._sum = g.constant(np.kron(valued[:, None] * np.array(_SUMMED), np.ones((self._states, 1))))
        self._move = g.constant(np.kron(np.eye(OBJECTIVES), _move(self._states)))

    def start(self, zeros: str) -> str:
        g = self._graph
        return g.op("Add", zeros, g.constant(self._nothing()[None, None]))

    def gains(self, place: int, x: str, extra: Sequence[str], state: str) -> tuple[str, str]:
        g = self._graph
        bias, out = (self._offsets[place], self._out) if place else (self._first, self._out_first)
        flow = g.op("Mul", self._hazards(x, extra, out, g.weight(bias)), state)
        return g.op("MatMul", flow, self._sum), flow

    def follow(self, state: str, carried: str) -> str:
        g = self._graph
        return g.op("Add", state, g.op("MatMul", carried, self._move))

    def list_gains(self, x: str, extra: Sequence[str], length: int) -> str:
        g = self._graph
        hazards = self._hazards(x, extra, self._out, g.weight(self._offsets[:length]))
        return g.op("MatMul", g.op("Mul", hazards, self._before(hazards, length)), self._sum)

    def _before(self, hazards: str, length: int) -> str:
        """Compute q before every place, [B, T, S], from the hazards [B, T, S]."""
        g, s = self._graph, self.width
        first = np.zeros((length, s))
        first[0] = self._nothing()
        if length == 1:
            return g.constant(first)
        # q_j = q_{j−1}·(1 + diag(h_j)·move): a matrix per place, so that the chain costs one product each.
        matrices = g.op("Add", g.op("Mul", g.op("Unsqueeze", hazards, g.ints(3)), self._move), g.constant(np.eye(s)))
        state = g.constant(self._nothing()[None, None, None])
        states = []
        for matrix in g.split(matrices, 1, *[1] * length)[:-1]:
            state = g.op("MatMul", state, matrix)  # [B, 1, 1, S]
            states.append(state)
        later = g.op("Reshape", g.concat(1, *states), g.ints(-1, length - 1, s))
        return g.op("Add", g.op("Pad", later, g.ints(0, 1, 0, 0, 0, 0)), g.constant(first))

    def _hazards(self, x: str, extra: Sequence[str], out: str, bias: str) -> str:
        g = self._graph
        hidden = g.op("Relu", g.concat(2, g.op("MatMul", x, self._hidden), *extra))
        return g.op("Sigmoid", g.op("Add", g.op("MatMul", hidden, out), bias))

    def _nothing(self) -> Floats:
        """Make q of the empty list, [S]."""
        return np.tile(np.eye(self._states)[0], OBJECTIVES)


def context_values(heads: Sequence[HazardHead]) -> tuple[Tensor, Tensor] | None:
    """Collect weight [V, Z] and bias [V] from context features to values before the heads' ReLU.

    An MLP's hidden layer is as it is; a linear map gives its value and the value's negative, of which the ReLU keeps
    one. None where the heads have no context.
    """
    parts = [_values_of(head) for head in heads if head.context is not None]
    if not parts:
        return None
    weights, biases = zip(*parts, strict=True)
    return torch.cat(weights), torch.cat(biases)


def _values_of(head: HazardHead) -> tuple[Tensor, Tensor]:
    if isinstance(head.context, torch.nn.Linear):
        weight = head.context.weight.detach()
        return torch.cat([weight, -weight]), weight.new_zeros(2)
    first = cast(torch.nn.Linear, cast(torch.nn.Sequential, head.context)[0])
    return first.weight.detach(), first.bias.detach()


def _context_rows(heads: Sequence[HazardHead]) -> Tensor:
    """Collect output weights of the context values [V, S], times ρ; no rows without context."""
    if heads[0].context is None:
        return heads[0].out.weight.new_zeros(0, OBJECTIVES * heads[0].states)
    return _block_diagonal([head.share * _last_of(head)[:, None].expand(-1, head.states) for head in heads])


def _last_of(head: HazardHead) -> Tensor:
    """Collect the weights of a head's context values [V/2] in its logits."""
    if isinstance(head.context, torch.nn.Linear):
        return head.out.weight.new_tensor([1.0, -1.0])
    return cast(torch.nn.Linear, cast(torch.nn.Sequential, head.context)[-1]).weight[0]


def _prior_rows(heads: Sequence[HazardHead]) -> Tensor:
    """Collect output weights of `PRIOR_COLUMNS`: a for π and −a for −π, [4, S]."""
    skips = _block_diagonal([head.skip.clamp(min=0)[:, None].expand(1, head.states) for head in heads])
    return torch.cat([skips, -skips])


def _no_context(head: HazardHead) -> Tensor:
    """Compute the context's part where there are no earlier items, times ρ, [K]."""
    if head.context is None:
        return torch.zeros_like(head.state_offset)
    _, bias = _values_of(head)
    return (head.share * (torch.relu(bias) @ _last_of(head))).expand(head.states)


def _move(states: int) -> Floats:
    """Make the matrix [K, K] that moves a flow to the next state, none beyond the last."""
    move = np.eye(states, k=1) - np.eye(states)
    move[-1] = 0
    return move


def _block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined
