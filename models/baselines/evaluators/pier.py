"""Evaluate lists list-wise by omnidirectional attention: PIER (Shi et al., KDD 2023, arXiv 2302.03487).

Followed: the omnidirectional attention unit, which first lets the items of a list attend to one another field by field
(softmax(QKᵀ/√E)V within each field), and then the fields to one another, once over the fields of the whole list (the
list's representation) and once over the fields of each item (the items' representations); a network on both gives each
position its click probability, and their sum is the list's value. Query, key and value matrices are shared by the
fields, and swish follows the first attention, as in the authors' release.

Simplified or changed: the selection module FPSM and the contrastive loss that joins it are not built, for lists are
given here; the interest in past pages is left out, since records hold no page history, and the request's fields stand
in its place; the network reads the items' raw fields where the release adds the ranking stage's prediction, which is
one of them; the position is one more field of each item; conversions are a second output.

Axis letters: B lists, T positions (T ≤ L), F fields of an item with its position, E embedding size per field, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.evaluators.positions import ListwiseEvaluator, hidden_layers
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.value import COUNTED, ValueConfig


class Pier(ListwiseEvaluator):
    """Estimate a probability per position; `config.layers` and `dim` size the last network."""

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__(spec, config)
        self.attention = OmnidirectionalAttention(self.fields, config)
        fields = 2 * self.fields + self.embeddings.request_fields
        self.hidden = hidden_layers(config.dim + fields * config.field_dim, config)
        self.out = nn.Linear(config.dim, len(COUNTED))

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits [B, T, 2] of click and conversion at each position of lists with ``lengths`` [B]."""
        x, keep = self.embed(batch)
        page, mixed = self.attention(x, keep)
        inputs = [self.beside(x, page, batch), mixed.flatten(2), x.flatten(2)]
        logits: Tensor = self.out(self.hidden(torch.cat(inputs, dim=-1)))
        return logits


class OmnidirectionalAttention(nn.Module):
    """Attend along the list within each field, then along list and item fields."""

    def __init__(self, fields: int, config: ValueConfig) -> None:
        super().__init__()
        e = config.field_dim
        self.within_field = nn.Linear(e, 3 * e, bias=False)
        self.over_list_fields = nn.Linear(e, 3 * e, bias=False)
        self.over_item_fields = nn.Linear(e, 3 * e, bias=False)
        self.fold = nn.Linear(config.list_length * e, e, bias=False)
        self.page = nn.Linear(fields * e, config.dim)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Mix fields x [B, T, F, E] into a list [B, D] and items [B, T, F, E]; `keep` bool [B, T] hides padding."""
        along = x.transpose(1, 2)  # [B, F, T, E]
        mixed = F.silu(_attend(self.within_field, along, keep[:, None, None, :]))
        kept = (along + mixed) * keep[:, None, :, None]
        flat = kept.flatten(2)
        folded = F.silu(self.fold(F.pad(flat, (0, self.fold.in_features - flat.shape[-1]))))  # [B, F, E]
        page = self.page((folded + _attend(self.over_list_fields, folded)).flatten(1))
        return page, _attend(self.over_item_fields, mixed.transpose(1, 2))


def _attend(project: nn.Linear, x: Tensor, keep: Tensor | None = None) -> Tensor:
    query, key, value = project(x).chunk(3, dim=-1)
    return F.scaled_dot_product_attention(query, key, value, keep)
