"""Batches of random requests, and list values from whole forward passes, one list at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.data.batches import Batch
from models.nets.heads import Context
from models.nets.value import HeadKind, InputBlock, ListValueModel, ValueConfig
from models.planners.worth import Worth
from tests.models.planners.examples import SPEC, random_model

MIXED = Worth((5.0, 1.0, 2.0), (0.5, 0.1, 3.0))
EMBEDDING = 3


def small_model(
    seed: int = 0,
    *,
    horizon: int = 4,
    head: HeadKind = "hazard",
    block: InputBlock = "fields",
    context: Context = "full",
    cosines: bool = True,
) -> ListValueModel:
    """A random model in double precision, so that equal values are equal however they are computed."""
    config = ValueConfig(
        dim=8,
        layers=2,
        heads=2,
        list_length=horizon,
        field_dim=4,
        input_block=block,
        head=head,
        context=context,
        context_dim=5,
        cosines=cosines,
    )
    return shaken(random_model(SPEC, config, seed).double(), seed)


def shaken(model: ListValueModel, seed: int) -> ListValueModel:
    """The model with random numbers for what starts at zero or one, so that every part of it counts."""
    random = torch.Generator().manual_seed(seed)

    def numbers(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=random, dtype=torch.float64)

    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.5 * numbers(parameter))
        if model.config.head == "hazard":
            for head in model.hazard_heads:
                head.skip.copy_(0.3 + numbers(head.skip).abs())
                head.state_offset.sub_(1.0)
                head.share.copy_(torch.sigmoid(numbers(head.share)))
    return model


def random_batch(candidates: Sequence[int], seed: int) -> Batch:
    """One request per entry of `candidates`, which says how many it has; the rest is padding.

    Some items have unknown categories, and some no embedding.
    """
    random = torch.Generator().manual_seed(seed)
    r, n = len(candidates), max(candidates)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def ids(rows: Sequence[int], *shape: int) -> Tensor:
        first = torch.tensor([0, *rows[:-1]]).cumsum(0)
        columns = [torch.randint(0, min(size, 4), shape, generator=random) for size in rows]
        return torch.stack(columns, dim=-1) + first

    embeddings = torch.nn.functional.normalize(numbers(r, n, EMBEDDING), dim=-1)
    return {
        "user_ids": ids([f.rows for f in SPEC.user_categoricals], r),
        "user_numbers": numbers(r, len(SPEC.user_numbers)),
        "item_ids": ids([f.rows for f in SPEC.item_categoricals], r, n),
        "item_numbers": numbers(r, n, len(SPEC.item_numbers)),
        "item_scores": numbers(r, n, len(SPEC.scores)),
        "priors": numbers(r, n, 2) - 1.0,
        "price": numbers(r, n).exp(),
        "embeddings": embeddings * (torch.rand(r, n, 1, generator=random, dtype=torch.float64) < 0.8),
        "valid": torch.arange(n) < torch.tensor(candidates)[:, None],
    }


def plain_outcomes(model: ListValueModel, batch: Batch, request: int, slots: Sequence[int]) -> Tensor:
    """Cumulative (clicks, conversions, GMV) [t, 3] of one list, read whole; GMV is Σ price · Δconversions."""
    one = {name: values[request] for name, values in batch.items()}
    features = {
        name: values[None] if name.startswith("user") else values[list(slots)][None] for name, values in one.items()
    }
    with torch.no_grad():
        gains = model.increments(features)[0, :, :2]
    gmv = one["price"][list(slots)] * gains[:, 1]
    return torch.cat([gains, gmv[:, None]], dim=1).cumsum(dim=0)


def plain_worth(model: ListValueModel, batch: Batch, request: int, slots: Sequence[int], worth: Worth) -> float:
    """What one list is worth in all, by the formula, term by term."""
    final = plain_outcomes(model, batch, request, slots)[-1].tolist()
    terms = [w * x / s for w, x, s in zip(worth.weights, final, worth.units, strict=True)]
    total: float = sum(terms)
    return worth.units[0] * total / sum(worth.weights)
