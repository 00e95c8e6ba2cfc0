"""Embed the fields of requests and items for the evaluator baselines.

The fields, and the tables behind them, are those of DeGRe's input block, before normalisation and projection: a field
is a categorical, or all numbers of one kind together.

Axis letters: B lists, N items, F fields, E embedding size per field.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.contract.spec import FeatureSpec, SpecError
from models.data.batches import Batch
from models.nets.inputs import embedding_table
from models.nets.value import ValueConfig


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


def hidden_layers(inputs: int, config: ValueConfig) -> nn.Sequential:
    """Build `config.layers` layers of width `config.dim` with ReLU and dropout, from [..., inputs] to [..., dim]."""
    widths = [inputs, *[config.dim] * config.layers]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers)


def _numbers(count: int, field_dim: int) -> nn.Linear | None:
    return nn.Linear(count, field_dim, bias=False) if count else None
