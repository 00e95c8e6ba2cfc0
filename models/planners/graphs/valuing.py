"""Lay the value of a whole list under a value model: one causal pass.

Axis letters: B batch, T places, D width, V context values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from models.nets.blocks import Block
from models.nets.value import ListValueModel
from models.planners.graphs.blocks import Residual, block_rows, close, normalise
from models.planners.graphs.context import Compared, ContextNodes, Told
from models.planners.graphs.graph import Graph
from models.planners.graphs.heads import Heads, heads_of
from models.planners.graphs.inputs import token_parts


class ListItems(NamedTuple):
    """Hold a list's items: `tokens` [B, T, D], and the heads' own columns of them."""

    tokens: str
    columns: list[str]  # [B, T, …] each: nothing, or an item's prior logits as the heads want them


def list_increments(g: Graph, model: ListValueModel, features: Mapping[str, str], length: int) -> str:
    """Lay (Δclick, Δconversion, ΔGMV) of every item of a list, [B, T, 3], T = `length`.

    `features` names the list's own features: those of `declare_features` with T in place of the candidates, ``price``
    as [B, T, 1]. Either input block and either head.
    """
    tokens = close(g, token_parts(g, model.input, features))
    heads = heads_of(g, model)
    columns = [prior_columns(g, features["priors"])] if heads.item_columns else []
    told = _told(g, model, features, length) if model.uses_context else None
    gains = list_gains(g, model, heads, ListItems(tokens, columns), told, length)
    return priced(g, gains, features["price"])


def list_gains(g: Graph, model: ListValueModel, heads: Heads, items: ListItems, told: Told | None, length: int) -> str:
    """Lay clicks, conversions, conversions of a list's items, [B, T, 3]; `told` is their context."""
    position = g.weight(model.input.positions()[:length])
    x = Residual(items.tokens, told.token if told is not None and told.token else position)
    for i, block in enumerate(model.blocks):
        with g.scope(f"block{i}"):
            x = block_rows(g, cast(Block, block), x)
    normed, _ = normalise(g, x, model.norm)
    extra = [told.values, *items.columns] if told is not None else items.columns
    return heads.list_gains(normed, extra, length)


def priced(g: Graph, gains: str, price: str) -> str:
    """Turn gains [B, T, 3] and price [B, T, 1] into increments, as `models.nets.value.priced`."""
    factors = g.op("Add", g.op("Mul", price, g.constant([0.0, 0.0, 1.0])), g.constant([1.0, 1.0, 0.0]))
    return g.op("Mul", gains, factors)


def prior_columns(g: Graph, priors: str) -> str:
    """Lay `heads.PRIOR_COLUMNS` [B, N, 4] of prior logits [B, N, 2]."""
    return g.concat(2, priors, g.op("Neg", priors))


def _told(g: Graph, model: ListValueModel, features: Mapping[str, str], length: int) -> Told:
    """Lay the context's parts for a list from its own items."""
    context = ContextNodes(g, model)
    items = compared(g, features)
    sums = context.list_sums(context.pairs(items), length)
    largest = context.list_largest(context.raw_cosines(items.unit), length) if context.cosines else ""
    return context.tell(sums, largest, model.input.positions()[:length])


def compared(g: Graph, features: Mapping[str, str]) -> Compared:
    """Collect the features by which the context compares items; "" for those they lack."""
    numbers = [features[name] for name in ("item_numbers", "item_scores") if name in features]
    joined = g.concat(2, *numbers) if numbers else ""
    return Compared(features.get("item_ids", ""), joined, features.get("embeddings", ""))
