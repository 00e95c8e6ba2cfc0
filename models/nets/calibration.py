"""Calibrate a hazard model: fit a, b and c of `heads.HazardHead`.

    h_j(i) = σ(a·π + b_i + c_j + correction)        a ≥ 0

It is a convex problem (a logistic regression), solved by L-BFGS-B in float64. Differences between neighbouring b's and
c's are penalised, and so is the distance of all of them from 0 and of a from 1, as strongly as a few observations
would. So places and states with few observations take values close to their neighbours', and scores that never differ
keep a = 1. It is done before training, without a correction, and again after the gate, with the correction that is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from models.nets.heads import HazardHead
from models.nets.losses import listwise_loss, path_loss

_NEIGHBOURS: Final = 5.0
"""Weight of squared differences between neighbouring offsets, beside the log likelihood of all lists: a spread of 0.3
between neighbours is what one expects before seeing data."""
_RIDGE: Final = 0.02
_PLACES: Final = 1 << 19
"""Places of lists whose likelihood is computed at once, which bounds the memory that its gradient takes."""
_SOLVER: Final = {"maxiter": 300, "ftol": 1e-12, "gtol": 1e-8}
"""Tighter than the default: what few lists reach weighs little in the mean, and is to be fitted all the same."""


class Offsets(NamedTuple):
    """Hold the calibrated part of a head: a [1], b [K] and c [L], on the CPU."""

    skip: Tensor
    state: Tensor
    place: Tensor

    @classmethod
    def of(cls, head: HazardHead) -> Offsets:
        """Copy the offsets of a head, with a clamped as in `HazardHead.base`."""
        a, b, c = (p.detach().cpu().clone() for p in (head.skip, head.state_offset, head.place_offset))
        return cls(a.clamp(min=0), b, c)

    def first(self, prior: Tensor, places: Tensor) -> Tensor:
        """Compute the first state's logits [B, T] from `prior` [B, T] at `places` int64 [T]."""
        a, b, c = (part.to(prior) for part in self)
        return a * prior + b[0] + c[places]

    def towards(self, other: Offsets, share: float) -> Offsets:
        """Interpolate linearly to the other offsets, to a `share` in 0..1 of the way."""
        return Offsets(*(torch.lerp(mine, theirs, share) for mine, theirs in zip(self, other, strict=True)))

    @torch.no_grad()
    def put(self, head: HazardHead) -> None:
        """Set a head's a, b and c."""
        for parameter, value in zip((head.skip, head.state_offset, head.place_offset), self, strict=True):
            parameter.copy_(value)


@dataclass(frozen=True)
class Outcomes:
    """Hold the outcomes of n lists in one objective. `labels` [n, L], `lengths` [n], `observed` bool [n]."""

    labels: Tensor
    lengths: Tensor
    observed: Tensor

    def rows(self, rows: slice) -> Outcomes:
        """Select some of the lists."""
        return Outcomes(self.labels[rows], self.lengths[rows], self.observed[rows])

    def reached(self, states: int) -> Tensor:
        """Mark the state of each list before each place: 0 or 1, float64 [n, L, K]."""
        before = (self.labels.cumsum(dim=1) - self.labels).clamp(max=states - 1)
        return (before[..., None] == torch.arange(states, device=before.device)).double()

    def loss(self, reached: Tensor, first: Tensor, listwise: float) -> Tensor:
        """Compute the path loss plus `listwise` times the listwise loss, means over lists.

        Both come from logits [n, L]: of the states that were `reached`, and of the `first` state.
        """
        arguments = (self.labels[..., None].to(first), self.lengths, self.observed[:, None])
        ranked = listwise_loss(first[:, :, None, None], *arguments)
        return path_loss(reached[:, :, None, None], *arguments) + listwise * ranked


def calibrate(
    head: HazardHead,
    prior: Tensor,
    outcomes: Outcomes,
    *,
    listwise: float,
    skip: bool,
    correction: Tensor | None = None,
) -> None:
    """Fit the head's a, b and c to n lists; a stays fixed unless `skip`.

    `prior` [n, L] are the ranking stage's logits; `correction` [n, L, K], already multiplied by ρ, is held fixed.
    """
    known, places, states = prior.double(), head.place_offset.shape[0], head.states
    before = outcomes.reached(states)
    fixed_reached, fixed_first = _fixed(correction, before)
    start = torch.cat([head.skip, head.state_offset, head.place_offset]).detach().double().cpu().numpy()

    def objective(values: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        x = torch.from_numpy(values).to(known.device).requires_grad_()
        a, b, c = x[:1], x[1 : 1 + states], x[1 + states :]
        total = 0.0
        for rows in _spans(*known.shape):
            placed = a * known[rows] + c[: known.shape[1]]
            reached, first = placed + before[rows] @ b + fixed_reached[rows], placed + b[0] + fixed_first[rows]
            loss = outcomes.rows(rows).loss(reached, first, listwise) * (len(placed) / len(known))
            loss = loss + _penalty(a, b, c) / len(known) if rows.start == 0 else loss
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        assert x.grad is not None
        return total, x.grad.cpu().numpy()

    free = (0.0, None) if skip else (float(start[0]), float(start[0]))
    bounds = [free] + [(None, None)] * (states + places)
    found = torch.from_numpy(minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=_SOLVER).x)
    b, c = found[1 : 1 + states], found[1 + states :]
    # Only the ridge tells whether a level belongs to b or to c, too faintly for the solver.
    level = (c.sum() - b.sum()) / (states + places)
    Offsets(*(part.to(head.skip) for part in (found[:1], b + level, c - level))).put(head)


def _spans(lists: int, places: int) -> Iterator[slice]:
    """Cut lists of so many places into spans of `_PLACES` at most."""
    step = max(1, _PLACES // max(1, places))
    return (slice(start, start + step) for start in range(0, max(1, lists), step))


def _fixed(correction: Tensor | None, before: Tensor) -> tuple[Tensor, Tensor]:
    """Take what a correction adds to logits of the reached and the first states."""
    if correction is None:
        nothing = before.new_zeros(before.shape[:-1])
        return nothing, nothing
    fixed = correction.double()
    return (fixed * before).sum(-1), fixed[..., 0]


def _penalty(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Penalise differences between neighbours, and distances from 0 (a: from 1)."""
    apart = b.diff().square().sum() + c.diff().square().sum()
    large = b.square().sum() + c.square().sum() + (a - 1).square().sum()
    return _NEIGHBOURS * apart + _RIDGE * large
