"""The list value model: what is a list worth?

SORT (SORT-Gen §3.1) is this model with `ConcatInput`; DeGRe's Lookahead Evaluator (§4.1) is it with `FieldInput`.

Given a list of items in order, it estimates for every prefix the distribution of the number of clicks and of
conversions. Which list is best under it is the planners' business. Input blocks: `inputs.py`; heads: `heads.py`.

Axis letters: B batch, T positions of a list (T ≤ L), N candidates, L list horizon, D width, O the two objectives that
are counted (click, conversion). GMV follows from conversions and price (`increments`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from models.blocks import Block, check_sizes
from models.heads import CountHead, MonotoneHead
from models.inputs import Batch, ConcatInput, FieldInput
from models.spec import FeatureSpec, SpecError

COUNTED: Final = ("click", "conversion")

InputBlock = Literal["concat", "fields"]
Head = Literal["independent", "monotone"]


@dataclass(frozen=True, slots=True)
class ValueConfig:
    """Sizes and parts of a list value model.

    `list_length` is the horizon L and `field_dim` the embedding size per field. `input_block`: SORT's concatenation or
    DeGRe's fields. `head`: independent thresholds, as in both papers, or monotone by construction.
    """

    dim: int = 128
    layers: int = 3
    heads: int = 4
    list_length: int = 10
    field_dim: int = 16
    dropout: float = 0.0
    input_block: InputBlock = "concat"
    head: Head = "independent"

    def __post_init__(self) -> None:
        check_sizes(self)
        for name, choices in (("input_block", get_args(InputBlock)), ("head", get_args(Head))):
            if getattr(self, name) not in choices:
                raise SpecError(f"{name}: must be one of {', '.join(choices)}, not {getattr(self, name)!r}")

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
        self.input: ConcatInput | FieldInput
        self.input = (ConcatInput if config.input_block == "concat" else FieldInput)(spec, config)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=config.feed_forward, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        head = {"independent": CountHead, "monotone": MonotoneHead}[config.head]
        self.heads = nn.ModuleDict({name: head(config.dim, config.list_length) for name in COUNTED})

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
