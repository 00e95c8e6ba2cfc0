"""Embed fields, train evaluators with a probability for every position, and value lists by them.

The expected outcome of a list is the sum over its positions. The fields, and the tables behind them, are those of
DeGRe's input block, before normalisation and projection: a field is a categorical, or all numbers of one kind together.

Axis letters: R requests, N candidates or items, K lists of a request, T positions, B lists, O counted objectives
(click, conversion), F fields, E embedding size per field.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.contract.spec import FeatureSpec, SpecError
from models.data.batches import Batch, seen_by
from models.data.slates import ITEM_ARRAYS, list_features
from models.nets.inputs import embedding_table
from models.nets.value import COUNTED, ValueConfig

PositionLogits = Callable[[Batch], Tensor]
"""Logits [B, T, O] of an event at each position, from the features of lists and, for list-wise ones, ``lengths``."""

_LISTS_AT_ONCE: Final = 8192


def position_loss(model: nn.Module, batch: Batch, spec: FeatureSpec) -> Tensor:
    """Compute the binary cross-entropy summed over exposed positions and recorded objectives; mean over lists.

    While the model trains, some categorical values are hidden, as they are from the list value models.
    """
    logits = model(seen_by(model, batch, spec))
    terms = F.binary_cross_entropy_with_logits(logits, batch["labels"][:, :, : len(COUNTED)], reduction="none")
    known = filled(batch["lengths"], logits.shape[1])[:, :, None] & batch["observed"][:, None, : len(COUNTED)]
    return terms.masked_fill(~known, 0.0).sum() / len(logits)


def filled(lengths: Tensor, positions: int) -> Tensor:
    """Tell the positions before each list's end, bool [B, positions]."""
    return torch.arange(positions, device=lengths.device) < lengths[:, None]


class FieldEmbeddings(nn.Module):
    """Embed all fields. `request_fields` and `item_fields` are their numbers.

    A field of numbers is their linear map to E without a bias: each number times a vector of its own, summed.
    """

    def __init__(self, spec: FeatureSpec, field_dim: int) -> None:
        super().__init__()
        self.field_dim = field_dim
        self.user_table = embedding_table(spec.user_categoricals, field_dim)
        self.item_table = embedding_table(spec.item_categoricals, field_dim)
        self.user_numbers = _numbers(len(spec.user_numbers), field_dim)
        self.item_numbers = _numbers(len(spec.item_numbers), field_dim)
        self.item_scores = _numbers(len(spec.scores), field_dim)
        self.request_fields = len(spec.user_categoricals) + bool(spec.user_numbers)
        self.item_fields = len(spec.item_categoricals) + bool(spec.item_numbers) + bool(spec.scores)
        if not self.item_fields:
            raise SpecError("spec: needs at least one item feature, price or score to tell candidates apart")

    def request(self, batch: Batch) -> Tensor:
        """Embed the user's and the context's fields: [B, request_fields, E], in that order."""
        parts = []
        if self.user_table is not None:
            parts.append(self.user_table(batch["user_ids"]))
        if self.user_numbers is not None:
            parts.append(self.user_numbers(batch["user_numbers"])[:, None])
        return torch.cat(parts, dim=1) if parts else batch["price"].new_zeros(len(batch["price"]), 0, self.field_dim)

    def items(self, batch: Batch) -> Tensor:
        """Embed the items' fields, categoricals first, then their numbers, then the scores: [B, N, item_fields, E]."""
        parts = []
        if self.item_table is not None:
            parts.append(self.item_table(batch["item_ids"]))
        if self.item_numbers is not None:
            parts.append(self.item_numbers(batch["item_numbers"])[:, :, None])
        if self.item_scores is not None:
            parts.append(self.item_scores(batch["item_scores"])[:, :, None])
        return torch.cat(parts, dim=2)


class ListwiseEvaluator(nn.Module):
    """Estimate the probabilities of a position from the fields of the whole list.

    A subclass attends along the fields and makes logits by its last layer, `out`.
    """

    out: nn.Linear

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.embeddings = FieldEmbeddings(spec, config.field_dim)
        self.position = nn.Embedding(config.list_length, config.field_dim)
        self.fields = self.embeddings.item_fields + 1

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embed items and positions, x [B, T, F, E], and tell items from padding, bool [B, T]."""
        items = self.embeddings.items(batch)
        b, t = items.shape[:2]
        x = torch.cat([items, self.position.weight[:t, None].expand(b, -1, -1, -1)], dim=2)
        # An empty list keeps one position, so that its softmax stays finite; it is never counted.
        return x, filled(batch["lengths"].clamp(min=1), t)

    def beside(self, x: Tensor, whole: Tensor, batch: Batch) -> Tensor:
        """Put the list `whole` [B, D] and the request's fields beside each position of x, [B, T, …]."""
        shared = torch.cat([whole, self.embeddings.request(batch).flatten(1)], dim=-1)
        return shared[:, None].expand(-1, x.shape[1], -1)

    def outcomes(self, batch: Batch, lists: Tensor) -> Tensor:
        """Accumulate expected clicks, conversions and GMV [R, K, T, 3] along `lists` [R, K, T]; T passes."""
        return listwise_outcomes(self, batch, lists)

    def start_at(self, rates: Tensor) -> None:
        """Start at the rates of a click and of a conversion of an exposed item, [2]."""
        self.out.bias.data.copy_(torch.logit(rates))


@torch.no_grad()
def pointwise_outcomes(model: PositionLogits, batch: Batch, lists: Tensor) -> Tensor:
    """Accumulate (clicks, conversions, GMV) [R, K, T, 3] of a model that sees neither position nor neighbours.

    Every candidate is read once, whatever the number of lists. `lists` int64 [R, K, T] is −1 past a list's end.
    """
    worth = _worth(model(batch), batch["price"])  # [R, N, 3]
    requests = torch.arange(len(lists), device=lists.device)[:, None, None]
    chosen = worth[requests, lists.clamp(min=0)] * (lists >= 0)[..., None]
    return chosen.cumsum(dim=2)


@torch.no_grad()
def listwise_outcomes(model: PositionLogits, batch: Batch, lists: Tensor) -> Tensor:
    """Accumulate (clicks, conversions, GMV) [R, K, T, 3] of a model in which every position sees the whole list.

    What follows an item changes its probability, so each prefix is read as a list of its own: T passes over lists of 1
    to T items, (T + 1) / 2 times the cost of the whole lists alone. Nothing makes the outcome rise with the prefix.
    `lists` int64 [R, K, T] is −1 past a list's end, where the last outcome is repeated.
    """
    _, k, t = lists.shape
    flat = lists.reshape(-1, t)
    parts = []
    for start in range(0, len(flat), _LISTS_AT_ONCE):
        chunk = flat[start : start + _LISTS_AT_ONCE]
        requests = torch.arange(start, start + len(chunk), device=lists.device) // k
        whole = list_features(batch, requests, chunk) | {"lengths": (chunk >= 0).sum(dim=1)}
        parts.append(_prefix_outcomes(model, whole))
    return torch.cat(parts).view(*lists.shape, 3)


def _prefix_outcomes(model: PositionLogits, whole: dict[str, Tensor]) -> Tensor:
    """Compute outcomes [B, T, 3] of B lists, reading every prefix by itself."""
    outcomes = []
    for t in range(1, whole["price"].shape[1] + 1):
        prefix = {name: values[:, :t] if name in ITEM_ARRAYS else values for name, values in whole.items()}
        prefix["lengths"] = whole["lengths"].clamp(max=t)
        worth = _worth(model(prefix), prefix["price"])
        outcomes.append((worth * filled(prefix["lengths"], t)[:, :, None]).sum(dim=1))
    return torch.stack(outcomes, dim=1)


def _worth(logits: Tensor, price: Tensor) -> Tensor:
    """Compute (P(click), P(conversion), price · P(conversion)) [..., 3] from logits [..., O]."""
    chance = torch.sigmoid(logits)
    return torch.cat([chance, (price * chance[..., 1])[..., None]], dim=-1)


def hidden_layers(inputs: int, config: ValueConfig) -> nn.Sequential:
    """Build `config.layers` layers of width `config.dim` with ReLU and dropout, from [..., inputs] to [..., dim]."""
    widths = [inputs, *[config.dim] * config.layers]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers)


def _numbers(count: int, field_dim: int) -> nn.Linear | None:
    return nn.Linear(count, field_dim, bias=False) if count else None
