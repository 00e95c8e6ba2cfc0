"""Evaluate lists list-wise by D-Attention: NLGR-E of NLGR (Wang et al., WWW 2025, arXiv 2502.06097).

Followed: D-Attention decouples the fields. Each field i has attention weights among the items of the list,
Att_i = softmax(X_i W_i^Q (X_i W_i^K)ᵀ / √E); these are averaged over the fields and applied to the projected id
embeddings, whose mean over the list is its representation e_l. A network shared by the positions gives each its
probability from its own fields, e_l, the user and the position: ŷ_j = σ(MLP(X_j ‖ e_l ‖ e_u ‖ PE_j)). The loss is the
cross-entropy summed over positions; conversions are a second output, as in the paper.

Simplified or changed: the user representation e_u, there an attention over past sessions, is the request's fields,
since records hold no sessions; the id is the item's categorical with the most values, and the item's first field where
there is none; the position is one of the fields that attend, as the paper's list of fields has it.

Axis letters: B lists, T positions (T ≤ L), F fields of an item with its position, E embedding size per field.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.baselines.evaluators.positions import ListwiseEvaluator, hidden_layers
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.value import COUNTED, ValueConfig


class NlgrEvaluator(ListwiseEvaluator):
    """Estimate a probability per position; `config.layers` and `dim` size the last network."""

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__(spec, config)
        self.attention = DecoupledAttention(self.fields, config.field_dim, id_field(spec))
        fields = self.fields + 1 + self.embeddings.request_fields
        self.hidden = hidden_layers(fields * config.field_dim, config)
        self.out = nn.Linear(config.dim, len(COUNTED))

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits [B, T, 2] of click and conversion at each position of lists with ``lengths`` [B]."""
        x, keep = self.embed(batch)
        inputs = [x.flatten(2), self.beside(x, self.attention(x, keep), batch)]
        logits: Tensor = self.out(self.hidden(torch.cat(inputs, dim=-1)))
        return logits


class DecoupledAttention(nn.Module):
    """Compute e_l [B, E]: the list's mean id embedding, mixed by averaged attention weights."""

    def __init__(self, fields: int, field_dim: int, id_field: int) -> None:
        super().__init__()
        self.id_field = id_field
        scale = field_dim**-0.5
        self.query = nn.Parameter(torch.randn(fields, field_dim, field_dim) * scale)
        self.key = nn.Parameter(torch.randn(fields, field_dim, field_dim) * scale)
        self.value = nn.Linear(field_dim, field_dim, bias=False)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Mix fields x [B, T, F, E]; `keep` bool [B, T] hides padding."""
        query = torch.einsum("btfe,fed->bftd", x, self.query)
        key = torch.einsum("btfe,fed->bftd", x, self.key)
        scores = query @ key.transpose(-1, -2) / x.shape[-1] ** 0.5  # [B, F, T, T]
        weights = torch.softmax(scores.masked_fill(~keep[:, None, None, :], -torch.inf), dim=-1).mean(dim=1)
        mixed = weights @ self.value(x[:, :, self.id_field])
        kept = keep[:, :, None]
        mean: Tensor = (mixed * kept).sum(dim=1) / kept.sum(dim=1)
        return mean


def id_field(spec: FeatureSpec) -> int:
    """Find the item's id: the categorical with the most values, or the first field."""
    rows = [field.rows for field in spec.item_categoricals]
    return rows.index(max(rows)) if rows else 0
