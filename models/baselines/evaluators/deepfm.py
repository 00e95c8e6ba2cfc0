"""Evaluate items point-wise by DeepFM (Guo et al., IJCAI 2017, arXiv 1703.04247).

Followed: eq. 1, ŷ = σ(y_FM + y_DNN); eq. 2, y_FM = ⟨w, x⟩ + Σ_{i<j} ⟨V_i, V_j⟩ x_i x_j; the deep part, a network on
the flattened embeddings V that both parts share. A list's value is the sum of its items' probabilities, so it does not
depend on their order.

Simplified or changed: the numbers of one kind form one field, so the FM part leaves out the pairs among them; the FM
pairs are divided by F·√E, because embeddings that start at N(0, 1) would start the logit in the tens; each counted
objective has a network and tables of its own, since the paper predicts clicks alone.

Axis letters: B lists, N items, F fields of request and item, E embedding size per field.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.baselines.evaluators.positions import FieldEmbeddings, hidden_layers, pointwise_outcomes
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.value import COUNTED, ValueConfig


class DeepFM(nn.Module):
    """Predict each counted objective by one DeepFM; `config.layers` and `dim` size the deep part."""

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.networks = nn.ModuleDict({name: _Network(spec, config) for name in COUNTED})

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits [B, N, 2] of a click and of a conversion of every item by itself."""
        return torch.stack([network(batch) for network in self.networks.values()], dim=-1)

    def outcomes(self, batch: Batch, lists: Tensor) -> Tensor:
        """Accumulate expected clicks, conversions and GMV [R, K, T, 3] along `lists` [R, K, T]."""
        return pointwise_outcomes(self, batch, lists)

    def start_at(self, rates: Tensor) -> None:
        """Start at the rates of a click and of a conversion of an exposed item, [2]."""
        for network, rate in zip(self.networks.values(), rates, strict=True):
            assert isinstance(network, _Network)
            network.out.bias.data.copy_(torch.logit(rate))


class _Network(nn.Module):
    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        self.first_order = FieldEmbeddings(spec, 1)
        self.embeddings = FieldEmbeddings(spec, config.field_dim)
        fields = self.embeddings.request_fields + self.embeddings.item_fields
        self.hidden = hidden_layers(fields * config.field_dim, config)
        self.out = nn.Linear(config.dim, 1)
        # Weights of single values are corrections to the base rate; N(0, 1) would bury what the others say.
        for table in (self.first_order.user_table, self.first_order.item_table):
            if table is not None:
                nn.init.zeros_(table.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits [B, N]."""
        x = _fields(self.embeddings, batch)
        deep = self.out(self.hidden(x.flatten(2)))[..., 0]
        first: Tensor = _fields(self.first_order, batch).sum(dim=(2, 3))
        logits: Tensor = deep + first + pair_products(x) / (x.shape[2] * x.shape[3] ** 0.5)
        return logits


def pair_products(x: Tensor) -> Tensor:
    """Sum ⟨x_i, x_j⟩ over pairs of fields, [...] from [..., F, E]."""
    squares: Tensor = x.sum(dim=-2).square().sum(dim=-1) - x.square().sum(dim=(-2, -1))
    return squares / 2


def _fields(embeddings: FieldEmbeddings, batch: Batch) -> Tensor:
    """Put the request's fields beside each item's, [B, N, F, E]."""
    items = embeddings.items(batch)
    request = embeddings.request(batch)[:, None].expand(-1, items.shape[1], -1, -1)
    return torch.cat([request, items], dim=2)
