"""Predict the gain of each item of a list: the heads of a value model.

A head maps an item's hidden row to logits. A chain over the places of the list maps logits to gains: the expected
number of new events at each place, given the items before it. `HazardHead` is the default; `CountHead` is the papers',
and `PlaceHead` what SORT-Gen's ablations put in its place.

Axis letters: T positions, L places of the horizon, D width, Z context features, K logits, S chain state.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

Context = Literal["none", "linear", "full"]
CONTEXTS: Final = get_args(Context)


class HeadInput(NamedTuple):
    """Hold a head's inputs: one place per item of axis T, or one for all.

    `x` [..., T, D] are hidden rows, `prior` [..., T] the ranking stage's logits for the head's objective, `context`
    [..., T, Z] the list-context features, None where the model has none. `places` int64 [T] or [1].
    """

    x: Tensor
    prior: Tensor
    context: Tensor | None
    places: Tensor


class PlainHead(nn.Module):
    """Map an item's hidden row to logits by an MLP, without prior and context features."""

    def __init__(self, dim: int, logits: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, logits)

    def forward(self, item: HeadInput) -> Tensor:
        """Compute logits [..., T, K]."""
        logits: Tensor = self.out(torch.relu(self.hidden(item.x)))
        return logits


class CountHead(PlainHead):
    """Predict thresholds of the count, as in the papers.

    One logit [..., T, L] per threshold, of "the first j+1 items bring ≥ i+1 events" (j, i from 0): x·θ_{i,j} of
    SORT-Gen's eq. 5 with θ shared by all j. They are independent: P(≥ i) may rise with i, and the expected count may
    fall along the list. The state is the expected count.
    """

    def start(self, like: Tensor) -> Tensor:
        """Return the empty list's state [..., 1], for batch axes like those of `like` [...]."""
        return torch.zeros_like(like)[..., None]

    def advance(self, logits: Tensor, state: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Compute the gain [...] of an item at `place` (from 0) and the state behind it.

        `logits` [..., L] are the item's. With p[i,j] = P(count in the first j ≥ i), P(exactly i) = p[i,j] − p[i+1,j],
        so the mean telescopes to E[j] = Σ_{i≤j} p[i,j] (DeGRe, eq. 4; SORT-Gen §3.1.2 gives the differences).
        """
        after = torch.sigmoid(logits[..., : place + 1]).sum(-1, keepdim=True)
        return (after - state)[..., 0], after


class PlaceHead(PlainHead):
    """Predict the event at each place by itself.

    One logit [..., T, 1], no count, no state of a chain. It is SORT-Gen's "point-wise classification" (Table 2). The
    item still sees those before it, through the transformer; what the items before it earned plays no part.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)

    def start(self, like: Tensor) -> Tensor:
        """Return a state [..., 1] that never changes, for batch axes like those of `like` [...]."""
        return torch.zeros_like(like)[..., None]

    def advance(self, logits: Tensor, state: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Compute the gain [...] of an item from its logit [..., 1], and give the state back."""
        del place  # the item's hidden row knows it
        return torch.sigmoid(logits[..., 0]), state


class HazardHead(nn.Module):
    """Predict hazards: P(event at a place | number of events before it).

        h_j(i) = σ(a·π + b_i + c_j + ρ·(w + W_i)·relu(H x_j) + ρ·u(z_j))

    Counts up to K − 1 are told apart. π is the ranking stage's logit; a, b, c calibrate it; what depends on the list is
    a correction whose weights w, W and u start at zero, and of which the share ρ in 0..1 is kept
    (`models.judging.gate`). The chain's state is the distribution of the count before a place, q [K], with the last
    state absorbing:

        gain_j = Σ_i q_{j−1}(i)·h_j(i)                      q_j(i) = q_{j−1}(i)·(1 − h_j(i)) + q_{j−1}(i−1)·h_j(i−1)

    Not in the papers, whose thresholds make a gain the difference of two noisy sums (docs/results.md).
    """

    def __init__(
        self, dim: int, *, states: int, places: int, context: Context, context_width: int, context_dim: int
    ) -> None:
        super().__init__()
        self.states = states
        # a, b and c are vectors, so the optimiser does not decay them (`models.training.loop`).
        self.skip = nn.Parameter(torch.zeros(1))
        self.state_offset = nn.Parameter(torch.zeros(states))
        self.place_offset = nn.Parameter(torch.zeros(places))
        self.hidden = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, 1, bias=False)
        self.out_by_state = nn.Linear(dim, states, bias=False)
        self.context = _context_part(context, context_width, context_dim)
        self.share: Tensor
        self.register_buffer("share", torch.ones(()))
        for layer in (self.out, self.out_by_state):
            nn.init.zeros_(layer.weight)

    def forward(self, item: HeadInput) -> Tensor:
        """Compute logits [..., T, K] of an event at each place, by the number before it."""
        return self.base(item) + self.share * self.correction(item)

    def base(self, item: HeadInput) -> Tensor:
        """Compute the calibrated prior a·π + b + c, [..., T, K]."""
        known = self.skip.clamp(min=0) * item.prior + self.place_offset[item.places]
        return known[..., None] + self.state_offset

    def correction(self, item: HeadInput) -> Tensor:
        """Compute the list's correction of the logits, before ρ is applied, [..., T, K]."""
        hidden = torch.relu(self.hidden(item.x))
        correction: Tensor = self.out(hidden) + self.out_by_state(hidden)
        if self.context is not None:
            assert item.context is not None
            correction = correction + self.context(item.context)
        return correction

    def start(self, like: Tensor) -> Tensor:
        """Return the empty list's state [..., K], no event, for axes like those of `like` [...]."""
        state = like.new_zeros(*like.shape, self.states)
        state[..., 0] = 1
        return state

    def advance(self, logits: Tensor, state: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Compute an item's gain [...] and the state behind it, from logits [..., K] and the state before."""
        del place  # the hazards know it already
        moving = state * torch.sigmoid(logits)
        leaving = torch.cat([moving[..., :-1], torch.zeros_like(moving[..., :1])], dim=-1)
        arriving = torch.cat([torch.zeros_like(moving[..., :1]), moving[..., :-1]], dim=-1)
        return moving.sum(-1), state - leaving + arriving


Head = CountHead | PlaceHead | HazardHead


def _context_part(context: Context, width: int, dim: int) -> nn.Module | None:
    """Build u of the hazard: nothing, a linear map, or an MLP, starting at zero."""
    if context == "none" or width == 0:
        return None
    last = nn.Linear(width if context == "linear" else dim, 1, bias=False)
    nn.init.zeros_(last.weight)
    return last if context == "linear" else nn.Sequential(nn.Linear(width, dim), nn.ReLU(), last)
