"""Lay the value of a whole list under a value model: one causal pass.

Axis letters: B batch, T places, D width, V context values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from models.nets.blocks import Block
from models.nets.value import ListValueModel
from models.planners.graphs.blocks import Residual, block_rows, close, normalise
from models.planners.graphs.context import ContextNodes, Told, compared
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
    # Priors as `heads.PRIOR_COLUMNS`; the price is a factor, as in `models.nets.value.priced`.
    columns = [g.concat(2, features["priors"], g.op("Neg", features["priors"]))] if heads.item_columns else []
    told = _told(g, model, features, length) if model.uses_context else None
    gains = list_gains(g, model, heads, ListItems(tokens, columns), told, length)
    priced = g.op("Mul", features["price"], g.constant([0.0, 0.0, 1.0]))
    return g.op("Mul", gains, g.op("Add", priced, g.constant([1.0, 1.0, 0.0])))


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


def _told(g: Graph, model: ListValueModel, features: Mapping[str, str], length: int) -> Told:
    """Lay the context's parts for a list from its own items."""
    context = ContextNodes(g, model)
    items = compared(g, features)
    sums = context.list_sums(context.pairs(items), length)
    largest = context.list_largest(context.raw_cosines(items.unit), length) if context.cosines else ""
    return context.tell(sums, largest, model.input.positions()[:length])
