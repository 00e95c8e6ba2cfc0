"""Value a list in one number: its expected outcomes, weighted by the objectives.

Planners that search need one number per list; value models give three (clicks, conversions, GMV).

Axis letters: R requests, O the three objectives of `spec.OBJECTIVES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from models.contract.spec import OBJECTIVES

Triple = tuple[float, float, float]
CLICKS_ONLY: Final[Triple] = (1.0, 0.0, 0.0)


def triple_of(figures: Mapping[str, float]) -> Triple:
    """Put a figure per objective, by name, in the order of `OBJECTIVES`."""
    click, conversion, gmv = (float(figures[name]) for name in OBJECTIVES)
    return click, conversion, gmv


class Valuation(Protocol):
    """Value the outcomes of a batch of requests, perhaps each by its own weights."""

    def __call__(self, outcomes: Tensor) -> Tensor:
        """Value outcomes [R, ..., O] as [R, ...]."""
        ...

    def take(self, rows: Tensor) -> Valuation:
        """Take the valuation of the requests at `rows` int64 [R']."""
        ...


@dataclass(frozen=True, slots=True)
class Worth:
    """Value all requests alike: s_click · Σ_o w_o·outcome_o/s_o / Σ_o w_o, in units of clicks.

    `weights` are α, β, γ and `units` the s_o, mean outcomes of an exposed slot. Measured in clicks so that a softmax
    over it (DeGRe, eq. 9 and 10) means the same whatever the weights; (1, 0, 0) gives plain expected clicks, which is
    the paper's V̂. Raises `ValueError` for negative weights, weights that are all 0 and units that are not positive.
    """

    weights: Triple = CLICKS_ONLY
    units: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check_units(self.units)
        _check_weights(torch.tensor(self.weights, dtype=torch.float64))

    def __call__(self, outcomes: Tensor) -> Tensor:
        """Value cumulative outcomes [..., O] as [...]."""
        return outcomes @ _per_outcome(outcomes.new_tensor(self.weights), self.units)

    def take(self, rows: Tensor) -> Worth:
        """Take the same for any requests."""
        del rows
        return self


@dataclass(frozen=True, slots=True, eq=False)
class RequestWorth:
    """Compute `Worth` with each request's own `weights` [R, O]. Raises `ValueError` as `Worth` does."""

    weights: Tensor
    units: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check_units(self.units)
        _check_weights(self.weights)

    def __call__(self, outcomes: Tensor) -> Tensor:
        """Value cumulative outcomes [R, ..., O] as [R, ...]."""
        per_outcome = _per_outcome(self.weights.to(outcomes), self.units)
        between = outcomes.ndim - 2
        return (outcomes * per_outcome.view(len(per_outcome), *[1] * between, -1)).sum(-1)

    def take(self, rows: Tensor) -> RequestWorth:
        """Take the valuation of the requests at `rows`."""
        return RequestWorth(self.weights[rows], self.units)


def _per_outcome(weights: Tensor, units: Triple) -> Tensor:
    """Compute the worth of one unit of each outcome, [..., O]."""
    return weights / weights.sum(-1, keepdim=True) * units[0] / weights.new_tensor(units)


def _check_units(units: Triple) -> None:
    for name, unit in zip(OBJECTIVES, units, strict=True):
        if not 0 < unit < math.inf:
            raise ValueError(f"units: {name} must be positive and finite, not {unit}")


def _check_weights(weights: Tensor) -> None:
    if weights.shape[-1] != len(OBJECTIVES):
        raise ValueError(f"weights: must be {len(OBJECTIVES)}, one per objective, not {weights.shape[-1]}")
    if not bool(((weights >= 0) & weights.isfinite()).all()) or not bool((weights.sum(-1) > 0).all()):
        raise ValueError("weights: must be finite, at least 0 and not all 0")
