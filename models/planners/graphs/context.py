"""Lay the list-context features (`models.nets.context`) as graph nodes.

All of them but the largest cosine are sums, over earlier items, of what two items have in common. So they are products:
of *pairs*, which are made once, with *weights* that say which items stand before a place and how much each counts. One
constant matrix then takes all sums at once to the token and to the heads.

Axis letters: R rows (lists that are looked at together), P items that are compared, M items they are compared with,
T places, F columns of a pair, C categorical fields, V values before the heads' ReLU, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.arrays import Floats
from models.nets.context import COUNT_SCALE, RECENT, Affinity, ContextLayout
from models.nets.value import ListValueModel
from models.planners.graphs.graph import MICROSOFT, Graph
from models.planners.graphs.heads import context_values
from models.planners.graphs.mmr import NO_COSINE

KINDS: Final = 4
_COUNT, _MEAN, _RECENT, _LAST = range(KINDS)


def weights_at(place: int) -> tuple[Floats, Floats]:
    """Weigh the items before a `place` (from 1): first place that counts and weight, [KINDS] each.

    The kinds: all items as a count, all as a mean, the last few as a count, the last one.
    """
    first = np.array([0, 0, max(place - RECENT, 0), place - 1], np.float64)
    return first, np.array([COUNT_SCALE, 1 / place, COUNT_SCALE, 1.0])


class Compared(NamedTuple):
    """Hold compared features: ids int64 [B, M, C], numbers float32 [B, M, N], unit float32 [B, M, E]."""

    ids: str
    numbers: str
    unit: str


class Told(NamedTuple):
    """Hold token parts with position [R, P, D], "" if none at all, and values [R, P, V]."""

    token: str
    values: str


class ContextNodes:
    """Lay the context features of a model that uses them."""

    def __init__(self, g: Graph, model: ListValueModel) -> None:
        values = context_values(model.hazard_heads)
        assert values is not None
        weight, bias = values
        token = model.context_token
        self._graph = g
        self._layout = model.layout
        self.cosines, self.pair_columns = model.layout.cosines, model.layout.pair_columns
        self._unknown = list(accumulate((f.rows for f in model.spec.item_categoricals), initial=0))[:-1]
        self._affinity = model.affinity
        self._sizes = [0 if token is None else token.out_features, len(weight)]
        self._bias = bias
        joined = weight if token is None else torch.cat([token.weight, weight])
        self._weight = g.weight(_by_pair(joined.detach(), model.layout).T)

    def pairs(self, items: Compared) -> str:
        """Compare every two of M items, the first as the later one: [B, M, F, M]."""
        g, parts = self._graph, []
        if self._layout.fields:
            # An unknown value equals nothing, and it is enough that one of the two is known to be none.
            known = g.op("Where", g.op("Equal", items.ids, g.ints(*self._unknown)), g.ints(-1), items.ids)
            parts.append(g.op("Cast", g.op("Equal", *self._two(items.ids, known)), to=1))
        if self._layout.numbers:
            offset = g.op("Sub", *self._two(items.numbers, items.numbers))
            parts += [offset, g.op("Abs", offset)]
        if self._affinity is not None:
            parts.append(self._affinities(items.ids, self._affinity))
        if self.cosines:
            parts.append(g.op("Unsqueeze", self.raw_cosines(items.unit), g.ints(2)))
        return g.concat(2, *parts)

    def raw_cosines(self, unit: str) -> str:
        """Compute cosines [B, M, M] of unit rows [B, M, E], 0 where either is missing."""
        return self._graph.op("MatMul", unit, self._graph.op("Transpose", unit, perm=[0, 2, 1]))

    def sums(self, pairs: str, weights: str, size: tuple[int, int], *, rows: int = 0) -> str:
        """Sum pairs [R, P, F·M] over M items by weights [R, KINDS, M]: [R, P, F·KINDS].

        `size` is P, M. With `rows` the R are that many places of each of several lists, and the result is [R / rows,
        rows·P, F·KINDS].
        """
        (p, m), g, f = size, self._graph, self.pair_columns
        flat = g.op("Reshape", pairs, g.ints(-1, p * f, m))
        summed = g.op("FusedMatMul", flat, weights, domain=MICROSOFT, transB=1)
        return g.op("Reshape", summed, g.ints(-1, p * max(rows, 1), f * KINDS))

    def list_sums(self, pairs: str, length: int) -> str:
        """Sum a list's own pairs [B, T, F, T] over the items before each place: [B, T, F·KINDS]."""
        g = self._graph
        summed = g.op("MatMul", pairs, g.constant(list_weights(length).transpose(0, 2, 1)))
        return g.op("Reshape", summed, g.ints(-1, length, self.pair_columns * KINDS))

    def list_largest(self, cosines: str, length: int) -> str:
        """Find the largest of `cosines` [B, T, T] before each place, [B, T, 1], first 0."""
        g = self._graph
        outside = np.where(np.tril(np.ones((length, length)), -1) > 0, 0.0, NO_COSINE)
        largest = g.op("ReduceMax", g.op("Add", cosines, g.constant(outside)), g.ints(2), keepdims=1)
        return g.op("Mul", largest, g.constant((np.arange(length) > 0)[:, None]))

    def tell(self, sums: str, largest: str, positions: Tensor) -> Told:
        """Project sums [R, P, F·KINDS], with embeddings also the `largest` cosines [R, P, 1].

        `positions` [P or 1, D] are the projected positions of the places that the items are to stand at.
        """
        g = self._graph
        features = g.op("MatMul", g.concat(2, sums, largest) if self.cosines else sums, self._weight)
        if not self._sizes[0] and not self._bias.any():
            return Told("", features)
        bias = self._bias.expand(len(positions), -1)
        shifts = bias if not self._sizes[0] else torch.cat([positions.detach(), bias], dim=1)
        shifted = g.op("Add", features, g.weight(shifts))
        return Told(*g.split(shifted, 2, *self._sizes)) if self._sizes[0] else Told("", shifted)

    def _affinities(self, ids: str, affinity: Affinity) -> str:
        """Lay affinities of every two items, the first as the later one: [B, M, C, M]."""
        g = self._graph
        later, earlier = (g.op("Gather", self._known(table), ids) for table in (affinity.later, affinity.earlier))
        of_fields = g.op("Transpose", later, perm=[0, 2, 1, 3]), g.op("Transpose", earlier, perm=[0, 2, 3, 1])
        return g.op("Transpose", g.op("MatMul", *of_fields), perm=[0, 2, 1, 3])

    def _known(self, table: nn.Embedding) -> str:
        """Store a table of factors, zero where a value is unknown."""
        factors = table.weight.detach().clone()
        factors[self._unknown] = 0
        return self._graph.weight(factors)

    def _two(self, later: str, earlier: str) -> tuple[str, str]:
        """Lay columns [B, M, X] of items as [B, M, X, 1] and [B, 1, X, M]."""
        g = self._graph
        turned = g.op("Transpose", earlier, perm=[0, 2, 1])
        return g.op("Unsqueeze", later, g.ints(3)), g.op("Unsqueeze", turned, g.ints(1))


def compared(g: Graph, features: Mapping[str, str]) -> Compared:
    """Collect the features by which the context compares items; "" for those they lack."""
    numbers = [features[name] for name in ("item_numbers", "item_scores") if name in features]
    joined = g.concat(2, *numbers) if numbers else ""
    return Compared(features.get("item_ids", ""), joined, features.get("embeddings", ""))


def list_weights(length: int) -> Floats:
    """Weigh each item of a list at each of its places, by kind: [T, KINDS, T]."""
    weights = np.zeros((length, KINDS, length))
    for place in range(1, length):
        first, weight = weights_at(place)
        earlier = np.arange(place)
        weights[place, :, :place] = np.where(earlier >= first[:, None], weight[:, None], 0.0)
    return weights


def _by_pair(weight: Tensor, layout: ContextLayout) -> Tensor:
    """Turn a weight [X, Z] to one over sums, the largest cosine last: [X, F·KINDS (+ 1)]."""
    c, n, a = layout.fields, layout.numbers, layout.affinities
    by_pair = weight.new_zeros(len(weight), layout.pair_columns, KINDS)
    # Sums of equal values and of affinities, each by its features' first column and its first pair.
    for column, pair, count in ((0, 0, c), (3 * c + 2 * n, c + 2 * n, a)):
        sums = weight[:, column : column + 3 * count].reshape(len(weight), 3, count)
        for i, kind in enumerate((_COUNT, _RECENT, _LAST)):
            by_pair[:, pair : pair + count, kind] = sums[:, i]
        by_pair[:, pair : pair + count, _LAST] *= COUNT_SCALE  # which the weights of the other two have in them
    by_pair[:, c : c + n, _MEAN] = weight[:, 3 * c : 3 * c + n]
    by_pair[:, c + n : c + 2 * n, _LAST] = weight[:, 3 * c + n : 3 * c + 2 * n]
    if not layout.cosines:
        return by_pair.flatten(1)
    largest, mean, last = weight[:, -3:].unbind(1)
    by_pair[:, -1, _MEAN], by_pair[:, -1, _LAST] = mean, last
    return torch.cat([by_pair.flatten(1), largest[:, None]], dim=1)
