"""Ordered-regression heads: how many events do the first j items of a list bring?

Axis letters: T positions, L thresholds, D width. Thresholds i run from 1 and are stored from 0.

Both heads offer the same two views: `forward` for whole lists (logits, for the loss) and `step` for one more item
behind a list whose own step is known (probabilities, for planners with a cache).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_SMALLEST: Final = 1e-7


class CountHead(nn.Module):
    """MLP from D to one logit per threshold, L in all: x·θ_{i,j} of SORT-Gen's eq. 5 with θ shared by all positions j.

    The thresholds are independent, as in both papers: nothing keeps P(≥ i) from rising with i, or from falling along
    the list. An offset of its own for every position was tried: better calibrated, worse orders (docs/results.md).
    """

    def __init__(self, dim: int, thresholds: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, thresholds)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [..., T, L] from [..., T, D]."""
        logits: Tensor = self.out(torch.relu(self.hidden(x)))
        return logits

    def step(self, x: Tensor, position: int, before: Tensor | None) -> Tensor:
        """P(≥ i) [..., L] with the item at `position` (from 0) last, from its [..., D]; 0 where i > position + 1."""
        del before  # independent of what stood before
        reached = torch.sigmoid(CountHead.forward(self, x))
        possible = torch.arange(reached.shape[-1], device=x.device) <= position
        return reached * possible

    def start_at(self, passed: Tensor, events: float) -> None:
        """Set the biases to the logits of how often each threshold is `passed` [L] in training."""
        del events
        self.out.bias.data.copy_(torch.logit(passed))


class MonotoneHead(CountHead):
    """The same MLP read as hazards, so that P(≥ i) falls with i and rises along the list by construction.

    h[i, j] = σ(logit) is the chance that item j brings an event if i − 1 events came before it:

        P_j(≥ i) = P_{j−1}(≥ i) + h[i, j] · (P_{j−1}(≥ i−1) − P_{j−1}(≥ i)),   P(≥ 0) = 1

    Increments of expected counts are Σ_i h[i, j] · P_{j−1}(exactly i − 1), never negative. Not in the papers; it is the
    chain of the Poisson-binomial distribution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Logits [..., T, L] of P(≥ i) after each position."""
        hazards = torch.sigmoid(super().forward(x))
        reached = torch.zeros_like(hazards[..., 0, :])
        rows = []
        for j in range(x.shape[-2]):
            reached = _advance(reached, hazards[..., j, :])
            rows.append(reached)
        return torch.logit(torch.stack(rows, dim=-2), eps=_SMALLEST)

    def step(self, x: Tensor, position: int, before: Tensor | None) -> Tensor:
        """P(≥ i) [..., L] from the item's [..., D] and P(≥ i) `before` it; None stands for the empty list."""
        del position  # thresholds that cannot be reached stay at 0 by themselves
        hazards = torch.sigmoid(CountHead.forward(self, x))
        return _advance(torch.zeros_like(hazards) if before is None else before, hazards)

    def start_at(self, passed: Tensor, events: float) -> None:
        """Set all hazards to the chance of an event per slot."""
        del passed
        self.out.bias.data.fill_(float(torch.logit(torch.tensor(events))))


def _advance(reached: Tensor, hazards: Tensor) -> Tensor:
    """One step of the chain; both [..., L]."""
    fewer = torch.cat([torch.ones_like(reached[..., :1]), reached[..., :-1]], dim=-1)
    return reached + hazards * (fewer - reached)
