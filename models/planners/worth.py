"""What a list is worth in one number: its expected outcomes, weighted as the objectives are.

Planners that search need one number per list; value models give three (clicks, conversions, GMV). This module knows
nothing about models or lists.

Axis letters: R requests, O the three objectives of `spec.OBJECTIVES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from models.contract.spec import OBJECTIVES

Triple = tuple[float, float, float]
CLICKS_ONLY: Final[Triple] = (1.0, 0.0, 0.0)


class Valuation(Protocol):
    """How the outcomes of a batch of requests are valued; it may differ from request to request."""

    def __call__(self, outcomes: Tensor) -> Tensor:
        """[R, ...] from [R, ..., O]."""
        ...

    def take(self, rows: Tensor) -> Valuation:
        """The valuation of the requests at `rows` int64 [R']."""
        ...


@dataclass(frozen=True, slots=True)
class Worth:
    """s_click · Σ_o w_o·outcome_o/s_o / Σ_o w_o, the same for all requests, in units of clicks.

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
        """[...] from cumulative outcomes [..., O]."""
        return outcomes @ _per_outcome(outcomes.new_tensor(self.weights), self.units)

    def take(self, rows: Tensor) -> Worth:
        """The same for any requests."""
        del rows
        return self


@dataclass(frozen=True, slots=True, eq=False)
class RequestWorth:
    """`Worth` with `weights` [R, O] of each request's own. Raises `ValueError` as `Worth` does."""

    weights: Tensor
    units: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check_units(self.units)
        _check_weights(self.weights)

    def __call__(self, outcomes: Tensor) -> Tensor:
        """[R, ...] from cumulative outcomes [R, ..., O]."""
        per_outcome = _per_outcome(self.weights.to(outcomes), self.units)
        between = outcomes.ndim - 2
        return (outcomes * per_outcome.view(len(per_outcome), *[1] * between, -1)).sum(-1)

    def take(self, rows: Tensor) -> RequestWorth:
        """The valuation of the requests at `rows`."""
        return RequestWorth(self.weights[rows], self.units)


def _per_outcome(weights: Tensor, units: Triple) -> Tensor:
    """What one unit of each outcome is worth, [..., O]."""
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
