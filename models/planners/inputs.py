"""Input blocks of the value models as graph nodes: from encoded features to one token per candidate."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.graph import Graph
from models.inputs import ConcatInput, FieldGroup
from models.spec import FeatureSpec


def declare_features(g: Graph, spec: FeatureSpec, slots: int) -> None:
    """Declare the feature inputs of a request with `slots` candidates (shapes in `models.features`).

    An input without columns is left out. B and the embedding width E are dynamic.
    """
    for name, width in (("user_ids", len(spec.user_categoricals)), ("user_numbers", len(spec.user_numbers))):
        if width:
            g.input(name, "int64" if name == "user_ids" else "float32", ["B", width])
    for name, width in (
        ("item_ids", len(spec.item_categoricals)),
        ("item_numbers", len(spec.item_numbers)),
        ("item_scores", len(spec.scores)),
    ):
        if width:
            g.input(name, "int64" if name == "item_ids" else "float32", ["B", slots, width])
    g.input("price", "float32", ["B", slots])
    g.input("embeddings", "float32", ["B", slots, "E"])
    g.input("valid", "bool", ["B", slots])


def candidate_tokens(g: Graph, block: ConcatInput) -> str:
    """`ConcatInput.tokens` as nodes: [B, N, D]. Items and scores share one product, as in SORT-Gen's eq. 3."""
    columns: list[str] = []
    weights: list[Tensor] = []
    if "item" in block.parts:
        item = cast(FieldGroup, block.parts["item"])
        columns += _columns(g, item, "item", keep=2)
        weights.append(item.project.weight)
    if "scores" in block.parts:
        columns.append("item_scores")
        weights.append(cast(nn.Linear, block.parts["scores"]).weight)
    tokens = g.op("MatMul", g.concat(2, *columns), g.weight(torch.cat(weights, dim=1).T))
    shared = g.weight(block.bias)
    if "user" in block.parts:
        user = cast(FieldGroup, block.parts["user"])
        projected = g.linear(g.concat(1, *_columns(g, user, "user", keep=1)), user.project)
        shared = g.op("Unsqueeze", g.op("Add", projected, shared), g.ints(1))
    return g.op("Add", tokens, shared)


def _columns(g: Graph, group: FieldGroup, prefix: str, *, keep: int) -> list[str]:
    """The group's embedded categoricals and its numbers, behind `keep` leading axes."""
    columns = []
    if group.table is not None:
        embedded = g.op("Gather", g.weight(group.table.weight), f"{prefix}_ids")
        columns.append(g.op("Reshape", embedded, g.ints(*[0] * keep, -1)))
    if group.has_numbers:
        columns.append(f"{prefix}_numbers")
    return columns
