"""Predict the value of a list: expected clicks, conversions and GMV along it.

SORT (SORT-Gen §3.1) is this model with `ConcatInput`; DeGRe's Lookahead Evaluator (§4.1) is it with `FieldInput`.

Given a list of items in order, it predicts for every place how many clicks and conversions the item there adds to those
before it. Planners search for the best list under it. Its parts: `inputs.py`, `context.py`, `blocks.py`, `heads.py`.

Axis letters: B batch, T positions of a list (T ≤ L), L list horizon, D width, O the two objectives that are counted
(click, conversion), K logits of a head. GMV follows from conversions and price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from models.contract.spec import OBJECTIVES, FeatureSpec, SpecError
from models.data.batches import Batch
from models.nets.blocks import Block, TransformerSizes
from models.nets.context import Affinity, ContextLayout, Items, own_context
from models.nets.heads import CONTEXTS, Context, CountHead, HazardHead, Head, HeadInput, PlaceHead
from models.nets.inputs import ConcatInput, FieldInput

COUNTED: Final = ("click", "conversion")

InputBlock = Literal["concat", "fields"]
HeadKind = Literal["hazard", "independent", "pointwise", "entire-space"]


@dataclass(frozen=True, slots=True)
class ValueConfig(TransformerSizes):
    """Hold the sizes and parts of a list value model.

    `list_length` is the horizon L and `field_dim` the embedding size per field. `input_block`: SORT's concatenation or
    DeGRe's fields. `head`: hazards of the counts; independent thresholds as in both papers; or, in their place in
    SORT-Gen's ablations, each place's events by themselves (pointwise), or clicks and the purchases of clicks, whose
    product counts as in ESMM (entire-space). `states` K is how many counts of earlier events a hazard tells apart.
    `context`: list-context features not at all, linearly in the hazard, or in the token and through an MLP of
    `context_dim` in the hazard; `cosines`: whether embeddings take part in them, `affinity`: the rank of the learnt
    affinities among them, 0 for none. Only hazards have such features.
    """

    input_block: InputBlock = "concat"
    head: HeadKind = "hazard"
    states: int = 3
    context: Context = "full"
    context_dim: int = 32
    cosines: bool = False
    affinity: int = 8

    def __post_init__(self) -> None:
        TransformerSizes.__post_init__(self)
        for name, least in (("states", 1), ("context_dim", 1), ("affinity", 0)):
            if getattr(self, name) < least:
                raise SpecError(f"{name}: must be at least {least}, not {getattr(self, name)}")
        choices = {"input_block": get_args(InputBlock), "head": get_args(HeadKind), "context": CONTEXTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SpecError(f"{name}: must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if self.head != "hazard":
            object.__setattr__(self, "context", "none")
            object.__setattr__(self, "cosines", False)
        if self.context == "none":
            object.__setattr__(self, "affinity", 0)
        object.__setattr__(self, "states", min(self.states, self.list_length))


class ListValueModel(nn.Module):
    """Apply a causal transformer to a list, with one head per counted objective."""

    def __init__(self, spec: FeatureSpec, config: ValueConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.input: ConcatInput | FieldInput
        self.input = (ConcatInput if config.input_block == "concat" else FieldInput)(spec, config)
        self.layout = ContextLayout.of(spec, cosines=config.cosines, affinity=config.affinity)
        self.affinity = Affinity(spec, config.affinity) if self.uses_context and self.layout.affinities else None
        self.context_token = _context_token(config, self.layout.width)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=4 * config.dim, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.heads = nn.ModuleDict({name: _head(config, self.layout.width) for name in COUNTED})
        self.valued: Tensor
        if config.head == "hazard":
            self.register_buffer("valued", torch.ones(len(COUNTED)))

    @property
    def uses_context(self) -> bool:
        """Tell whether list-context features take part at all."""
        return self.config.context != "none" and self.layout.width > 0

    @property
    def counting_heads(self) -> tuple[Head, ...]:
        """Return the heads in the order of `COUNTED`."""
        return tuple(cast(Head, head) for head in self.heads.values())

    @property
    def hazard_heads(self) -> tuple[HazardHead, ...]:
        """Return the heads of a hazard model. Raises `ValueError` for other heads."""
        heads = tuple(head for head in self.counting_heads if isinstance(head, HazardHead))
        if len(heads) != len(COUNTED):
            raise ValueError(f"a model of the {self.config.head} head has no hazards")
        return heads

    @property
    def shares(self) -> Mapping[str, float] | None:
        """Return the kept share ρ per counted objective, None without hazards."""
        if self.config.head != "hazard":
            return None
        return {name: float(head.share) for name, head in zip(COUNTED, self.hazard_heads, strict=True)}

    @property
    def valued_objectives(self) -> tuple[str, ...]:
        """Name the learnt objectives, all without hazards; GMV takes purchases and price."""
        if self.config.head != "hazard":
            return OBJECTIVES
        counted = [name for name, known in zip(COUNTED, self.valued.tolist(), strict=True) if known]
        gmv = ("gmv",) if "conversion" in counted and self.spec.price is not None else ()
        return (*counted, *gmv)

    def forward(self, batch: Batch) -> Tensor:
        """Compute logits [B, T, O, K] of a list's items in order, from arrays [B, T, …]."""
        return torch.stack([head(item) for head, item in self.head_inputs(batch)], dim=2)

    def head_inputs(self, batch: Batch) -> list[tuple[Head, HeadInput]]:
        """Pair each head with its inputs for a whole list."""
        context = own_context(self.items(batch)) if self.uses_context else None
        tokens = self.input.tokens(batch)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens, context) + self.input.positions()[places]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        # Only hazards read the prior, and what was made for other heads may not carry any.
        priors = (
            batch["priors"].unbind(-1) if self.config.head == "hazard" else [x.new_zeros(x.shape[:2])] * len(COUNTED)
        )
        return [
            (head, HeadInput(x, prior, context, places))
            for head, prior in zip(self.counting_heads, priors, strict=True)
        ]

    def hazard_inputs(self, batch: Batch) -> list[tuple[HazardHead, HeadInput]]:
        """Pair each hazard head with its inputs. Raises `ValueError` for other heads."""
        return [(head, item) for head, (_, item) in zip(self.hazard_heads, self.head_inputs(batch), strict=True)]

    def items(self, batch: Batch) -> Items:
        """Take the values of a batch's items that list-context features compare."""
        items = Items.of(batch, self.spec, cosines=self.config.cosines)
        return items if self.affinity is None else items._replace(factors=self.affinity(items.ids))

    def tokens(self, tokens: Tensor, context: Tensor | None) -> Tensor:
        """Add the projected context [..., Z] to tokens [..., D]."""
        if self.context_token is None or context is None:
            return tokens
        added: Tensor = tokens + self.context_token(context)
        return added

    def increments(self, batch: Batch) -> Tensor:
        """Predict (Δclick, Δconversion, ΔGMV) [B, T, 3] of every item behind those before it. GMV is in currency."""
        return priced(self.gains(self(batch)), batch["price"])

    def gains(self, logits: Tensor) -> Tensor:
        """Compute the expected new events at every place, [B, T, O], from logits [B, T, O, K]."""
        # The chain of each head starts from the empty list and moves place by place.
        states = [head.start(logits[:, 0, o, 0]) for o, head in enumerate(self.counting_heads)]
        rows = []
        for j in range(logits.shape[1]):
            gain, states = self.advance(logits[:, j], states, j)
            rows.append(gain)
        return torch.stack(rows, dim=1)

    def advance(self, logits: Tensor, states: list[Tensor], place: int) -> tuple[Tensor, list[Tensor]]:
        """Compute gains [..., O] at `place`, and each head's state behind it. `logits` are [..., O, K]."""
        steps = [
            head.advance(logits[..., o, :], state, place)
            for o, (head, state) in enumerate(zip(self.counting_heads, states, strict=True))
        ]
        gains = torch.stack([gain for gain, _ in steps], dim=-1)
        if self.config.head == "hazard":
            gains = gains * self.valued
        elif self.config.head == "entire-space":
            # The second head is of purchases among clicks.
            gains = torch.stack([gains[..., 0], gains[..., 0] * gains[..., 1]], dim=-1)
        return gains, [state for _, state in steps]


def priced(gains: Tensor, price: Tensor) -> Tensor:
    """Add ΔGMV = price · Δconversion to gains: [..., 3] from [..., O].

    `price` [...] is in currency. ΔGMV is not clipped at 0: the papers' head makes some gains a little negative, and
    keeping only the positive part would count that noise as revenue (docs/results.md has the figures).
    """
    return torch.cat([gains, (price * gains[..., 1])[..., None]], dim=-1)


def _head(config: ValueConfig, context_width: int) -> Head:
    if config.head == "independent":
        return CountHead(config.dim, config.list_length)
    if config.head != "hazard":
        return PlaceHead(config.dim)
    return HazardHead(
        config.dim,
        states=config.states,
        places=config.list_length,
        context=config.context,
        context_width=context_width,
        context_dim=config.context_dim,
    )


def _context_token(config: ValueConfig, width: int) -> nn.Linear | None:
    """Build W_z, from context features to the token; it starts at zero."""
    if config.context != "full" or width == 0:
        return None
    layer = nn.Linear(width, config.dim, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
