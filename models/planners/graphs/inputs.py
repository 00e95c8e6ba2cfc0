"""Lay the models' input blocks: from encoded features to one token per item.

Axis letters: B batch, N candidates or list items, C columns, F fields, E embedding size per field, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.features import PRIOR_SCORES
from models.contract.spec import FeatureSpec
from models.nets.inputs import REQUEST_DOMAINS, ConcatInput, Domain, FieldGroup, FieldInput
from models.planners.graphs.blocks import Residual, close
from models.planners.graphs.graph import MICROSOFT, Graph

_ITEM_DOMAINS: Final = ("item", "score")

Features = Mapping[str, str]
"""Feature inputs by name, to the graph values that stand for them; one that is missing is the graph's own input."""


def declare_features(g: Graph, spec: FeatureSpec, slots: int | str, *, priors: bool = False) -> None:
    """Declare the feature inputs of a request with `slots` candidates (shapes in `models.contract.features`).

    An input without columns is left out, and so are the `priors` where nothing reads them. B and the embedding width E
    are dynamic, and so are the slots if they have a name in place of a number.
    """
    for name, width in (("user_ids", len(spec.user_categoricals)), ("user_numbers", len(spec.user_numbers))):
        if width:
            g.input(name, "int64" if name == "user_ids" else "float32", ["B", width])
    for name, width in item_columns(spec).items():
        g.input(name, "int64" if name == "item_ids" else "float32", ["B", slots, width])
    if priors:
        g.input("priors", "float32", ["B", slots, len(PRIOR_SCORES)])
    g.input("price", "float32", ["B", slots])
    g.input("embeddings", "float32", ["B", slots, "E"])
    g.input("valid", "bool", ["B", slots])


def item_columns(spec: FeatureSpec) -> dict[str, int]:
    """Count a candidate's columns in each feature input that has any."""
    widths = {
        "item_ids": len(spec.item_categoricals),
        "item_numbers": len(spec.item_numbers),
        "item_scores": len(spec.scores),
    }
    return {name: width for name, width in widths.items() if width}


def token_parts(g: Graph, block: ConcatInput | FieldInput, features: Features | None = None) -> Residual:
    """Lay the block's `tokens`: own part [B, N, D], and the items' shared one [B or 1, 1, D]."""
    if isinstance(block, FieldInput):
        return FieldNodes(g, block, features).token_parts()
    return _concat_parts(g, block, features or {})


def candidate_tokens(g: Graph, block: ConcatInput | FieldInput) -> str:
    """Lay the block's `tokens` of all candidates, [B, N, D]."""
    return close(g, token_parts(g, block))


def _concat_parts(g: Graph, block: ConcatInput, features: Features) -> Residual:
    """Lay `ConcatInput.tokens`. Items and scores share one product, as in SORT-Gen's eq. 3."""
    columns: list[str] = []
    weights: list[Tensor] = []
    if "item" in block.parts:
        item = cast(FieldGroup, block.parts["item"])
        columns += _columns(g, item, "item", features, keep=2)
        weights.append(item.project.weight)
    if "scores" in block.parts:
        columns.append(features.get("item_scores", "item_scores"))
        weights.append(cast(nn.Linear, block.parts["scores"]).weight)
    tokens = g.op("MatMul", g.concat(2, *columns), g.weight(torch.cat(weights, dim=1).T))
    shared = g.weight(block.bias)
    if "user" in block.parts:
        user = cast(FieldGroup, block.parts["user"])
        projected = g.linear(g.concat(1, *_columns(g, user, "user", features, keep=1)), user.project)
        shared = g.op("Unsqueeze", g.op("Add", projected, shared), g.ints(1))
    return Residual(tokens, shared)


def _columns(g: Graph, group: FieldGroup, prefix: str, features: Features, *, keep: int) -> list[str]:
    """Lay the group's embedded categoricals and its numbers, behind `keep` leading axes."""
    columns = []
    if group.table is not None:
        ids = features.get(f"{prefix}_ids", f"{prefix}_ids")
        embedded = g.op("Gather", g.weight(group.table.weight), ids)
        columns.append(g.op("Reshape", embedded, g.ints(*[0] * keep, -1)))
    if group.has_numbers:
        columns.append(features.get(f"{prefix}_numbers", f"{prefix}_numbers"))
    return columns


class FieldNodes:
    """Lay `FieldInput` as nodes.

    Fields stand in an order of their own, a request's and an item's apart and categoricals before numbers, which saves
    cutting and joining; attention does not care and the projection's columns are permuted to it. What only the request
    decides is computed once and not per item.
    """

    def __init__(self, g: Graph, block: FieldInput, features: Features | None = None) -> None:
        self._graph = g
        self._block = block
        self._features = features or {}
        self._request_order = _field_order(block, REQUEST_DOMAINS)
        self._item_order = _field_order(block, _ITEM_DOMAINS)
        self._width = block.qkv.in_features
        self._request_fields = self._fields(REQUEST_DOMAINS, block.user_table) if self._request_order else ""
        self.request = self._flat(self._request_fields, keep=1) if self._request_fields else ""
        """`FieldInput.request` in this order of fields, [B, fields · E]; empty if there are none."""

    def request_columns(self, weight: Tensor) -> Tensor:
        """Permute the weight [D, fields · E] of a layer over `FieldInput.request` to `request`'s order."""
        return _pick_fields(weight, self._request_order, self._width)

    def token_parts(self) -> Residual:
        """Lay the block's tokens, as the function `token_parts`."""
        g, block = self._graph, self._block
        raw = self._fields(_ITEM_DOMAINS, block.item_table)
        enhanced = self._enhance(raw)
        together = self._request_order + self._item_order
        # The projection of [raw ‖ enhanced], its columns permuted; the request's raw part is projected once.
        of_raw, of_enhanced = block.project.weight.detach().chunk(2, dim=1)
        own = [_pick_fields(of_raw, self._item_order, self._width), _pick_fields(of_enhanced, together, self._width)]
        tokens = g.op("MatMul", g.concat(2, self._flat(raw, keep=2), enhanced), g.weight(torch.cat(own, dim=1).T))
        shared = g.weight(block.project.bias)
        if self.request:
            projected = g.op("MatMul", self.request, g.weight(self.request_columns(of_raw).T))
            shared = g.op("Unsqueeze", g.op("Add", projected, shared), g.ints(1))
        return Residual(tokens, shared)

    def _enhance(self, raw: str) -> str:
        """Attend among the fields of each item and its request: [B, N, fields · E]."""
        g, e = self._graph, self._width
        qkv = self._qkv(raw, self._item_order)
        if self._request_fields:  # an item's fields attend to the request's too
            of_request = g.op("Unsqueeze", self._qkv(self._request_fields, self._request_order), g.ints(1))
            items = g.op("Shape", raw, start=0, end=2)
            wanted = g.concat(0, items, g.ints(len(self._request_order), 3 * e))
            qkv = g.concat(2, g.op("Expand", of_request, wanted), qkv)
        query, key, value = g.split(qkv, 3, e, e, e)
        logits = g.op("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=e**-0.5)
        return self._flat(g.op("MatMul", g.op("Softmax", logits), value), keep=2)

    def _qkv(self, raw: str, order: Sequence[int]) -> str:
        """Compute query, key, value [..., fields, 3·E]; a field is normalised by its domain's parameters."""
        g, e = self._graph, self._width
        norms = [cast(nn.LayerNorm, domain.norm) for domain in _domain_of_field(self._block)]
        plain = g.op("LayerNormalization", raw, g.constant(np.ones(e)), g.constant(np.zeros(e)), epsilon=norms[0].eps)
        weight, bias = (torch.stack([getattr(norms[f], name) for f in order]) for name in ("weight", "bias"))
        normed = g.op("Add", g.op("Mul", plain, g.weight(weight)), g.weight(bias))
        return g.linear(normed, self._block.qkv)

    def _fields(self, names: Sequence[str], table: nn.Embedding | None) -> str:
        """Lay raw fields [B, (N,) fields, E]: embedded categoricals, then numbers, one per domain."""
        g = self._graph
        prefix = "user" if names == REQUEST_DOMAINS else "item"
        keep = 1 if prefix == "user" else 2
        domains = {name: cast(Domain, self._block.domains[name]) for name in names if name in self._block.domains}
        # Embedded categoricals, from one table.
        parts = []
        if table is not None:
            ids = self._features.get(f"{prefix}_ids", f"{prefix}_ids")
            parts.append(g.op("Gather", g.weight(table.weight), ids))
        # Numbers: one projected field per domain, all in one product with a block-diagonal weight.
        layers = {name: domain.project for name, domain in domains.items() if domain.project is not None}
        if layers:
            inputs = ["item_scores" if name == "score" else f"{prefix}_numbers" for name in layers]
            columns = [self._features.get(name, name) for name in dict.fromkeys(inputs)]
            weight = torch.block_diag(*(layer.weight for layer in layers.values()))  # type: ignore[no-untyped-call]
            bias = torch.cat([layer.bias for layer in layers.values()])
            projected = g.op("Add", g.op("MatMul", g.concat(keep, *columns), g.weight(weight.T)), g.weight(bias))
            parts.append(g.op("Reshape", projected, g.ints(*[0] * keep, len(layers), self._width)))
        return g.concat(keep, *parts)

    def _flat(self, fields: str, *, keep: int) -> str:
        return self._graph.op("Reshape", fields, self._graph.ints(*[0] * keep, -1))


def _domain_of_field(block: FieldInput) -> list[Domain]:
    """List the domain of every field, in the block's own order."""
    return [cast(Domain, domain) for domain in block.domains.values() for _ in range(cast(Domain, domain).fields)]


def _field_order(block: FieldInput, names: Sequence[str]) -> list[int]:
    """Order the block's fields of these domains: categoricals, then numbers."""
    ids: list[int] = []
    numbers: list[int] = []
    first = 0
    for name, module in block.domains.items():
        domain = cast(Domain, module)
        if name in names:
            count = domain.ids.stop - domain.ids.start
            ids += range(first, first + count)
            numbers += range(first + count, first + domain.fields)
        first += domain.fields
    return ids + numbers


def _pick_fields(weight: Tensor, order: Sequence[int], width: int) -> Tensor:
    """Pick the columns [D, fields · E] of the fields in `order`."""
    by_field = weight.detach().view(len(weight), -1, width)
    return by_field[:, list(order)].flatten(1)
