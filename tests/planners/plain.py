"""Batches of random requests, and list values from whole forward passes, one list at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.inputs import Batch
from models.planners.worth import Worth
from models.value import ListValueModel, ValueConfig, expected_counts
from tests.planners.examples import SPEC, random_model

MIXED = Worth((5.0, 1.0, 2.0), (0.5, 0.1, 3.0))


def small_model(seed: int = 0, *, horizon: int = 4, head: str = "independent", block: str = "fields") -> ListValueModel:
    """A random model in double precision, so that equal values are equal however they are computed."""
    config = ValueConfig(
        dim=8,
        layers=2,
        heads=2,
        list_length=horizon,
        field_dim=4,
        input_block="concat" if block == "concat" else "fields",
        head="monotone" if head == "monotone" else "independent",
    )
    return random_model(SPEC, config, seed).double()


def random_batch(candidates: Sequence[int], seed: int) -> Batch:
    """One request per entry of `candidates`, which says how many it has; the rest is padding."""
    random = torch.Generator().manual_seed(seed)
    r, n = len(candidates), max(candidates)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "user_ids": torch.randint(0, 3, (r, len(SPEC.user_categoricals)), generator=random),
        "user_numbers": numbers(r, len(SPEC.user_numbers)),
        "item_ids": torch.randint(0, 58, (r, n, len(SPEC.item_categoricals)), generator=random),
        "item_numbers": numbers(r, n, len(SPEC.item_numbers)),
        "item_scores": numbers(r, n, len(SPEC.scores)),
        "price": numbers(r, n).exp(),
        "valid": torch.arange(n) < torch.tensor(candidates)[:, None],
    }


def plain_outcomes(model: ListValueModel, batch: Batch, request: int, slots: Sequence[int]) -> Tensor:
    """Cumulative (clicks, conversions, GMV) [t, 3] of one list, read whole; GMV is Σ price · Δconversions."""
    one = {name: values[request] for name, values in batch.items()}
    features = {
        name: values[None] if name.startswith("user") else values[list(slots)][None] for name, values in one.items()
    }
    with torch.no_grad():
        counts = expected_counts(model(features))[0]
    steps = torch.diff(counts[:, 1], prepend=counts.new_zeros(1))
    gmv = torch.cumsum(one["price"][list(slots)] * steps, 0)
    return torch.cat([counts, gmv[:, None]], dim=1)


def plain_worth(model: ListValueModel, batch: Batch, request: int, slots: Sequence[int], worth: Worth) -> float:
    """What one list is worth in all, by the formula, term by term."""
    final = plain_outcomes(model, batch, request, slots)[-1].tolist()
    terms = [w * x / s for w, x, s in zip(worth.weights, final, worth.units, strict=True)]
    total: float = sum(terms)
    return worth.units[0] * total / sum(worth.weights)
