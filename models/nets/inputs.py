"""Embed encoded features: one token per candidate and one vector per position.

Both blocks keep the position apart from the rest. A linear map of a concatenation is the sum of the linear maps of its
parts, so a planner projects every candidate once and adds the position at each step.

Axis letters: B batch, N candidates or list items, F fields, E embedding size per field, D width, L list horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.contract.spec import Categorical, FeatureSpec, Hashed, Number, SpecError
from models.data.batches import Batch
from models.nets.blocks import TransformerSizes


class Positions(nn.Module):
    """Embed positions and project them to D: P of the papers' input equations."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.position = nn.Embedding(sizes.list_length, sizes.field_dim)
        self.project_position = nn.Linear(sizes.field_dim, sizes.dim, bias=False)

    def positions(self) -> Tensor:
        """Compute the projected position embeddings [L, D]."""
        projected: Tensor = self.project_position(self.position.weight)
        return projected


class ConcatInput(Positions):
    """Project E_item ⊕ E_position ⊕ E_user ⊕ E_score (SORT-Gen, eq. 3)."""

    def __init__(self, spec: FeatureSpec, sizes: TransformerSizes) -> None:
        super().__init__(sizes)
        parts = {
            "item": _field_group("item", spec.item_categoricals, spec.item_numbers, sizes),
            "user": _field_group("user", spec.user_categoricals, spec.user_numbers, sizes),
            "scores": nn.Linear(len(spec.scores), sizes.dim, bias=False) if spec.scores else None,
        }
        if parts["item"] is None and parts["scores"] is None:
            raise SpecError(_NOTHING)
        self.parts = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        self.bias = nn.Parameter(torch.zeros(sizes.dim))

    def tokens(self, batch: Batch) -> Tensor:
        """Compute tokens [B, N, D] of candidates or list items, without their positions."""
        x = self.bias
        if "user" in self.parts:
            x = x + self.parts["user"](batch)[:, None]
        if "item" in self.parts:
            x = x + self.parts["item"](batch)
        if "scores" in self.parts:
            x = x + self.parts["scores"](batch["item_scores"])
        return x


class FieldInput(Positions):
    """Embed fields with grouped layer norm and attention between domains (DeGRe, eq. 5).

    X = Linear(Flatten(E) ‖ Flatten(Ẽ) ‖ P). A field is a categorical, or all numbers of a domain together. The domains
    are user, context, item and score. Each field is normalised over its E values with its *domain's* own affine
    parameters (shared ones would make it a plain layer norm), the fields of one item attend to one another, and both
    the raw and the enhanced fields are projected.
    """

    def __init__(self, spec: FeatureSpec, sizes: TransformerSizes) -> None:
        super().__init__(sizes)
        e = sizes.field_dim
        self.user_table = embedding_table(spec.user_categoricals, e)
        self.item_table = embedding_table(spec.item_categoricals, e)
        # The request's columns hold the user's own fields first, then those of the context.
        own_ids = sum(not isinstance(f, Number) for f in spec.user)
        own_numbers = len(spec.user) - own_ids
        scores = len(spec.scores)
        domains = {
            "user": Domain(slice(0, own_ids), slice(0, own_numbers), e),
            "context": Domain(
                slice(own_ids, len(spec.user_categoricals)), slice(own_numbers, len(spec.user_numbers)), e
            ),
            "item": Domain(slice(0, len(spec.item_categoricals)), slice(0, len(spec.item_numbers)), e),
            "score": Domain(slice(0, 0), slice(0, scores), e),
        }
        self.domains = nn.ModuleDict({name: domain for name, domain in domains.items() if domain.fields})
        if "item" not in self.domains and "score" not in self.domains:
            raise SpecError(_NOTHING)
        self.request_fields = sum(domains[name].fields for name in REQUEST_DOMAINS)
        self.fields = sum(domain.fields for domain in domains.values())
        self.qkv = nn.Linear(e, 3 * e, bias=False)
        self.project = nn.Linear(2 * self.fields * e, sizes.dim)

    def tokens(self, batch: Batch) -> Tensor:
        """Compute tokens [B, N, D] of candidates or list items, without their positions."""
        parts = [self._item_fields(batch, name) for name in ("item", "score") if name in self.domains]
        b, n = parts[0][0].shape[:2]
        # The request's fields are the same for every candidate.
        if self.request_fields:
            request = self._request_fields(batch)
            parts.insert(0, tuple(x[:, None].expand(b, n, -1, -1) for x in request))
        raw = torch.cat([part[0] for part in parts], dim=2)  # [B, N, F, E]
        normed = torch.cat([part[1] for part in parts], dim=2)
        query, key, value = self.qkv(normed).chunk(3, dim=-1)
        enhanced = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(torch.cat([raw.flatten(2), enhanced.flatten(2)], dim=-1))
        return projected

    def request(self, batch: Batch) -> Tensor:
        """Flatten the raw user and context fields of a request: e_user [B, request_fields · E]."""
        return self._request_fields(batch)[0].flatten(1)

    def _request_fields(self, batch: Batch) -> tuple[Tensor, ...]:
        embedded = None if self.user_table is None else self.user_table(batch["user_ids"])
        pairs = [
            self.domains[name](embedded, batch.get("user_numbers")) for name in REQUEST_DOMAINS if name in self.domains
        ]
        return tuple(torch.cat(kind, dim=-2) for kind in zip(*pairs, strict=True))

    def _item_fields(self, batch: Batch, name: str) -> tuple[Tensor, ...]:
        if name == "score":
            embedded, numbers = None, batch.get("item_scores")
        else:
            embedded = None if self.item_table is None else self.item_table(batch["item_ids"])
            numbers = batch.get("item_numbers")
        pair: tuple[Tensor, ...] = self.domains[name](embedded, numbers)
        return pair


REQUEST_DOMAINS: Final = ("user", "context")
_NOTHING: Final = "spec: needs at least one item feature, price or score to tell candidates apart"


class Domain(nn.Module):
    """Embed a domain's fields, raw and normalised; `ids` and `numbers` are its columns."""

    def __init__(self, ids: slice, numbers: slice, field_dim: int) -> None:
        super().__init__()
        self.ids, self.numbers = ids, numbers
        count = numbers.stop - numbers.start
        self.fields = ids.stop - ids.start + (count > 0)
        self.project = nn.Linear(count, field_dim) if count else None
        self.norm = nn.LayerNorm(field_dim) if self.fields else None

    def forward(self, embedded: Tensor | None, numbers: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute raw and normalised fields […, fields, E] from embedded columns […, C, E] and numbers […, F]."""
        parts = []
        if embedded is not None and self.ids.stop > self.ids.start:
            parts.append(embedded[..., self.ids, :])
        if self.project is not None:
            assert numbers is not None
            parts.append(self.project(numbers[..., self.numbers])[..., None, :])
        raw = torch.cat(parts, dim=-2)
        assert self.norm is not None
        return raw, self.norm(raw)


class FieldGroup(nn.Module):
    """Project a group's fields to D; its categoricals share a table, so one lookup."""

    def __init__(
        self, prefix: str, categoricals: Sequence[Categorical], numbers: Sequence[Number], sizes: TransformerSizes
    ) -> None:
        super().__init__()
        self.prefix = prefix
        self.table = embedding_table(categoricals, sizes.field_dim)
        self.has_numbers = bool(numbers)
        self.project = nn.Linear(len(categoricals) * sizes.field_dim + len(numbers), sizes.dim, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """Project ``<prefix>_ids`` […, C] and ``<prefix>_numbers`` […, F] to […, D]."""
        parts = []
        if self.table is not None:
            parts.append(self.table(batch[f"{self.prefix}_ids"]).flatten(-2))
        if self.has_numbers:
            parts.append(batch[f"{self.prefix}_numbers"])
        projected: Tensor = self.project(torch.cat(parts, dim=-1))
        return projected


def _field_group(
    prefix: str, categoricals: Sequence[Categorical], numbers: Sequence[Number], sizes: TransformerSizes
) -> FieldGroup | None:
    """Build the group's module, or None where the spec has no such fields."""
    return FieldGroup(prefix, categoricals, numbers, sizes) if categoricals or numbers else None


def embedding_table(categoricals: Sequence[Categorical], field_dim: int) -> nn.Embedding | None:
    """Build the shared embedding table of a group's categoricals, None without any.

    Rows of hashed fields start near 0, so that a rare id adds little. Rows of vocabularies start from PyTorch's N(0,
    1); smaller values were too weak for attention to learn which items go together (docs/results.md, the log of
    experiments).
    """
    if not categoricals:
        return None
    table = nn.Embedding(sum(field.rows for field in categoricals), field_dim)
    first = 0
    for field in categoricals:
        if isinstance(field, Hashed):
            nn.init.normal_(table.weight[first : first + field.rows].data, std=0.1)
        first += field.rows
    return table
