"""The list value model: what is a list worth? SORT (SORT-Gen §3.1) is this model with `ConcatInput`.

Given a list of items in order, it estimates for every prefix the distribution of the number of clicks and of
conversions. Which list is best under it is the planners' business. Reads top-down: config, model, input block, head.

Axis letters: B batch, T positions of a list (T ≤ L), N candidates, L list horizon, D width, O the two objectives that
are counted (click, conversion). GMV follows from conversions and price (`increments`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.blocks import Block
from models.spec import Categorical, FeatureSpec, Hashed, Number, SpecError

Batch = Mapping[str, Tensor]
COUNTED = ("click", "conversion")


@dataclass(frozen=True, slots=True)
class ValueConfig:
    """Sizes of a list value model. `list_length` is the horizon L; `field_dim` is the embedding size per field."""

    dim: int = 128
    layers: int = 3
    heads: int = 4
    list_length: int = 10
    field_dim: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "heads", "list_length", "field_dim"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if self.dim % self.heads:
            raise SpecError(f"dim: must be a multiple of heads ({self.heads}), not {self.dim}")
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout: must be within 0..1, not {self.dropout}")

    @property
    def feed_forward(self) -> int:
        """Width of the feed-forward layers."""
        return 4 * self.dim


class ListValueModel(nn.Module):
    """Causal transformer over a list, with one ordered-regression head per counted objective."""

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.input = ConcatInput(spec, config)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=config.feed_forward, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.heads = nn.ModuleDict({name: CountHead(config.dim, config.list_length) for name in COUNTED})

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, T, O, L]: at position j and threshold i (both from 0), of "the first j+1 items bring ≥ i+1".

        `batch` holds the arrays of `models.features` with [B, T, …] for the items of the list, in order. Thresholds
        i > j are impossible; their logits are untrained and must be masked (`expected_counts`, `losses`).
        """
        x = self.input.tokens(batch)
        x = x + self.input.positions()[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return torch.stack([head(x) for head in self.heads.values()], dim=2)


def expected_counts(logits: Tensor) -> Tensor:
    """E[count] after each position: [B, T, O] from logits [B, T, O, L].

    With p[i,j] = P(count in the first j ≥ i), P(exactly i) = p[i,j] − p[i+1,j], so the mean telescopes to
    E[j] = Σ_{i≤j} p[i,j] (DeGRe, eq. 4; SORT-Gen §3.1.2 gives the differences).
    """
    positions, thresholds = logits.shape[1], logits.shape[3]
    possible = torch.ones(positions, thresholds, dtype=torch.bool, device=logits.device).tril()
    return (torch.sigmoid(logits) * possible[:, None, :]).sum(-1)


def increments(before: Tensor, after: Tensor, price: Tensor) -> Tensor:
    """What adding an item is worth: (Δclick, Δconversion, ΔGMV), [..., 3], from expected counts [..., 2].

    ΔGMV is price · Δconversion, the price [...] in currency. It is not clipped at 0: neighbouring positions are learnt
    apart, so Δconversion is noisy and often a little negative, and keeping only the positive part would count that
    noise as revenue, most of all for dear items (docs/results.md has the figures).
    """
    delta = after - before
    return torch.cat([delta, (price * delta[..., 1])[..., None]], dim=-1)


class ConcatInput(nn.Module):
    """E_input = E_item ⊕ E_position ⊕ E_user ⊕ E_score, projected to the model's width (SORT-Gen, eq. 3).

    A linear map of a concatenation is the sum of the linear maps of its parts, so the parts are projected apart. That
    lets a planner project every candidate once and add the position at each step.
    """

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        parts = {
            "item": _field_group("item", spec.item_categoricals, spec.item_numbers, config),
            "user": _field_group("user", spec.user_categoricals, spec.user_numbers, config),
            "scores": nn.Linear(len(spec.scores), config.dim, bias=False) if spec.scores else None,
        }
        if parts["item"] is None and parts["scores"] is None:
            raise SpecError("spec: needs at least one item feature, price or score to tell candidates apart")
        self.parts = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        self.bias = nn.Parameter(torch.zeros(config.dim))
        self.position = nn.Embedding(config.list_length, config.field_dim)
        self.project_position = nn.Linear(config.field_dim, config.dim, bias=False)

    def tokens(self, batch: Batch) -> Tensor:
        """Every candidate (or list item) without its position: [B, N, D]."""
        x = self.bias
        if "user" in self.parts:
            x = x + self.parts["user"](batch)[:, None]
        if "item" in self.parts:
            x = x + self.parts["item"](batch)
        if "scores" in self.parts:
            x = x + self.parts["scores"](batch["item_scores"])
        return x

    def positions(self) -> Tensor:
        """The projected position embeddings [L, D]."""
        projected: Tensor = self.project_position(self.position.weight)
        return projected


class FieldGroup(nn.Module):
    """All fields of a group, embedded or taken as numbers, concatenated and projected to D.

    All categoricals of a group share one table (`models.features` adds each field's offset), so a group costs one
    lookup.
    """

    def __init__(
        self, prefix: str, categoricals: Sequence[Categorical], numbers: Sequence[Number], config: ValueConfig
    ) -> None:
        super().__init__()
        self.prefix = prefix
        rows = sum(field.rows for field in categoricals)
        self.table = nn.Embedding(rows, config.field_dim) if categoricals else None
        self.has_numbers = bool(numbers)
        self.project = nn.Linear(len(categoricals) * config.field_dim + len(numbers), config.dim, bias=False)
        if self.table is not None:
            _start_hashed_small(self.table, categoricals)

    def forward(self, batch: Batch) -> Tensor:
        """[…, D] from ``<prefix>_ids`` […, C] and ``<prefix>_numbers`` […, F]."""
        parts = []
        if self.table is not None:
            parts.append(self.table(batch[f"{self.prefix}_ids"]).flatten(-2))
        if self.has_numbers:
            parts.append(batch[f"{self.prefix}_numbers"])
        projected: Tensor = self.project(torch.cat(parts, dim=-1))
        return projected


def _field_group(
    prefix: str, categoricals: Sequence[Categorical], numbers: Sequence[Number], config: ValueConfig
) -> FieldGroup | None:
    """The group's module, or None where the spec has no such fields."""
    return FieldGroup(prefix, categoricals, numbers, config) if categoricals or numbers else None


def _start_hashed_small(table: nn.Embedding, categoricals: Sequence[Categorical]) -> None:
    """Start id-like rows near 0, where a rare id is no news; vocabularies keep PyTorch's N(0, 1).

    Started small as well, vocabularies were too faint for attention to learn which items go together
    (docs/results.md, the log of experiments).
    """
    first = 0
    for field in categoricals:
        if isinstance(field, Hashed):
            nn.init.normal_(table.weight[first : first + field.rows].data, std=0.1)
        first += field.rows


class CountHead(nn.Module):
    """MLP from D to one logit per threshold, L in all: x·θ_{i,j} of SORT-Gen's eq. 5 with θ shared by all positions j.

    An offset of its own for every position was tried: better calibrated, worse orders (docs/results.md).
    """

    def __init__(self, dim: int, thresholds: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, thresholds)

    def forward(self, x: Tensor) -> Tensor:
        """[..., L] from [..., D]."""
        logits: Tensor = self.out(torch.relu(self.hidden(x)))
        return logits
