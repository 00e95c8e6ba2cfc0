"""Improve given lists by local search: swap two items or replace one while that helps.

Not in the DeGRe paper: its beam decides from the left and cannot revise, and this can. Also the soft labels of lists
that did not come out of a beam.

Axis letters: R requests, K lists of a request, A lists still improving, M moves, L positions, U unused candidates,
N candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.data.batches import Batch
from models.nets.value import ListValueModel
from models.planners.search.expansions import Expander, left_first
from models.planners.worth import Valuation

MAX_ROUNDS = 100
_MARGIN = 1e-6
"""What counts as better, relative to the value (at least 1): more than rounding, so that no two lists take turns."""


@torch.no_grad()
def improve(
    model: ListValueModel,
    batch: Batch,
    worth: Valuation,
    lists: Tensor,
    *,
    top_k: int | None = None,
    rounds: int = MAX_ROUNDS,
) -> Tensor:
    """Move `lists` int64 [R, K, L] to their best neighbours until none is better.

    At most `rounds` steps are taken. A neighbour has two items swapped, or one replaced by a candidate that is not in
    the list. No list comes back worth less than it was; −1 entries stay where they are. Of equal neighbours swaps come
    first, then earlier positions and candidates. `top_k` limits replacements as it limits a beam
    (`expansions.Expander`).
    """
    r, k, length = lists.shape
    expander = Expander(model, batch, worth, top_k)
    requests = expander.requests.repeat_interleave(k)
    current = lists.reshape(r * k, length).clone()
    value = _values(expander, requests, current)
    active = (current >= 0).any(dim=1).nonzero()[:, 0]
    for _ in range(rounds):
        if not len(active):
            break
        moves, better = _best_moves(expander, requests[active], current[active])
        gained = better > value[active] + _MARGIN * value[active].abs().clamp(min=1)
        active = active[gained]
        current[active], value[active] = moves[gained], better[gained]
    return current.view(r, k, length)


@torch.no_grad()
def soft_labels(
    model: ListValueModel, batch: Batch, worth: Valuation, lists: Tensor, *, top_k: int | None = None
) -> Tensor:
    """Compute q_t of DeGRe's eq. 9 along given `lists` int64 [R, K, L]: [R, K, L, N].

    It is 0 past a list's end (−1). With `top_k` the softmax covers the K that a beam would try, and the item that the
    list has there.
    """
    expander = Expander(model, batch, worth, top_k)
    k, length = lists.shape[1:]
    prefixes, left = expander.start(k)
    rows = torch.arange(len(prefixes), device=lists.device)
    labels = []
    for t in range(length):
        item = lists[:, :, t : t + 1]
        here = torch.zeros_like(left).scatter(2, item.clamp(min=0), item >= 0)
        expansions = expander.expand(prefixes, expander.shortlist(expander.requests, left) | here)
        labels.append(expansions.soft_labels * (item >= 0))
        which = (expansions.items == item).int().argmax(dim=2).flatten()
        prefixes = expander.tree.grow(prefixes, expansions.alternatives, rows, which)
        left = left & ~here
    return torch.stack(labels, dim=2)


def _best_moves(expander: Expander, requests: Tensor, lists: Tensor) -> tuple[Tensor, Tensor]:
    """Find each list's best neighbour [A, L] and its value [A], −∞ if there is none."""
    moves, allowed = _neighbours(expander, requests, lists)
    owner, move = allowed.nonzero().unbind(1)
    known = _values(expander, requests[owner], moves[owner, move])
    values = known.new_full(allowed.shape, -torch.inf).index_put((owner, move), known)
    best = torch.sort(values, dim=1, descending=True, stable=True).indices[:, 0]
    rows = torch.arange(len(lists), device=lists.device)
    return moves[rows, best], values[rows, best]


def _neighbours(expander: Expander, requests: Tensor, lists: Tensor) -> tuple[Tensor, Tensor]:
    """List all neighbours [A, M, L] of lists [A, L], and mark the valid ones, bool [A, M]."""
    a, length = lists.shape
    # Swaps of two positions i < j.
    i, j = torch.triu_indices(length, length, offset=1, device=lists.device)
    swapped = lists[:, None].repeat(1, len(i), 1)
    rows = torch.arange(len(i), device=lists.device)
    swapped[:, rows, i], swapped[:, rows, j] = lists[:, j], lists[:, i]
    # Replacements of each position by each unused candidate.
    unused = _unused(expander, requests, lists)
    items = left_first(unused)
    u = items.shape[1]
    replaced = lists[:, None, None].repeat(1, length, u, 1)
    position = torch.arange(length, device=lists.device)
    replaced[:, position, :, position] = items.expand(length, a, u)
    moves = torch.cat([swapped, replaced.flatten(1, 2)], dim=1)
    # Moves of an empty position, or by padding, are masked.
    filled = lists >= 0
    possible = filled[:, :, None] & unused.gather(1, items)[:, None]
    return moves, torch.cat([filled[:, i] & filled[:, j], possible.flatten(1)], dim=1)


def _unused(expander: Expander, requests: Tensor, lists: Tensor) -> Tensor:
    """Mark the candidates that may replace an item of a list, bool [A, N]."""
    valid = expander.valid[requests]
    used = torch.zeros(valid.shape, dtype=torch.int64, device=valid.device)
    # Added, since a list's −1 entries fall on candidate 0 as well.
    used = used.scatter_add(1, lists.clamp(min=0), (lists >= 0).long())
    return expander.shortlist(requests, valid & (used == 0))


def _values(expander: Expander, requests: Tensor, lists: Tensor) -> Tensor:
    """Value each of `lists` [M, L] of `requests` [M], [M]."""
    return expander.worth.take(requests)(expander.tree.outcomes(requests, lists)[:, -1])
