"""Compute the losses of a value model: path likelihood, listwise, ordered regression.

Axis letters: B lists, L positions (j) and thresholds (i), both counted from 0 here and from 1 in the paper, O counted
objectives (click, conversion), K states of a hazard.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ordered_targets(labels: Tensor) -> Tensor:
    """Turn labels [B, L, O] into targets [B, L, O, L]: 1 where j+1 items have ≥ i+1 events."""
    counts = labels.cumsum(dim=1)
    thresholds = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    return (counts.unsqueeze(-1) >= thresholds).to(labels.dtype)


def ordered_mask(lengths: Tensor, observed: Tensor, list_length: int) -> Tensor:
    """Mark the terms of the ordered loss, bool [B, L, O, L].

    They have i ≤ j, j before the exposed `lengths` [B] and the objective `observed` [B, O]. A threshold above the
    list's own length can never be passed, so it teaches nothing; positions past the end were never seen.
    """
    steps = torch.arange(list_length, device=lengths.device)
    reachable = steps[None, :] <= steps[:, None]
    exposed = steps[None, :] < lengths[:, None]
    return exposed[:, :, None, None] & observed[:, None, :, None] & reachable[None, :, None, :]


def ordered_regression_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Sum binary cross-entropies over thresholds, positions and objectives (eq. 4), mean over lists.

    `logits` [B, L, O, L], `labels` [B, L, O], `lengths` [B], `observed` bool [B, O]; returns a scalar. It is a sum over
    up to O·L·(L+1)/2 terms, so it grows with L. It is not divided by their number: that would weigh short lists and
    unrecorded objectives differently from the paper, and Adam's steps do not depend on the loss's scale.
    """
    mask = ordered_mask(lengths, observed, logits.shape[1])
    terms = F.binary_cross_entropy_with_logits(logits, ordered_targets(labels), reduction="none")
    return terms.masked_fill(~mask, 0.0).sum() / len(logits)


def path_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute minus the log likelihood of the events along each list, mean over lists.

    `logits` [B, L, O, K] are hazards by the number of events before, `labels` [B, L, O] 0 or 1, `lengths` [B],
    `observed` bool [B, O]. Places and objectives are summed. At each place the hazard of the list's state is compared
    with the event that followed. That is exactly the likelihood of the whole path, so no target is a difference of two
    noisy sums.
    """
    return path_terms(logits, labels, lengths, observed).sum() / len(logits)


def path_terms(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute the terms of `path_loss`, [B, L, O]; 0 past the end and where unobserved."""
    before = labels.cumsum(dim=1) - labels
    state = before.clamp(max=logits.shape[-1] - 1).long()
    at_state = logits.gather(-1, state.unsqueeze(-1)).squeeze(-1)
    terms = F.binary_cross_entropy_with_logits(at_state, labels, reduction="none")
    return terms.masked_fill(~_seen(lengths, observed, labels.shape[1]), 0.0)


def listwise_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute the softmax loss of ranking each list's items by the first state's hazards.

    Arguments as of `path_loss`; mean over lists, objectives added. A list's term is −log softmax over its items at
    those that were clicked (bought), divided by its events; lists without events have none.
    """
    return listwise_terms(logits[..., 0], labels, lengths, observed).sum() / len(logits)


def listwise_terms(scores: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute the terms of `listwise_loss` [B, O] from scores [B, L, O]. They are 0 for lists without events."""
    seen = _seen(lengths, observed, labels.shape[1])
    log_shares = torch.log_softmax(scores.masked_fill(~seen, -1e9), dim=1)
    events = labels * seen
    return -(events * log_shares).sum(dim=1) / events.sum(dim=1).clamp(min=1)


def _seen(lengths: Tensor, observed: Tensor, list_length: int) -> Tensor:
    """Mark places before the list's end, of observed objectives, bool [B, L, O]."""
    places = torch.arange(list_length, device=lengths.device)
    return (places[None, :] < lengths[:, None])[:, :, None] & observed[:, None, :]
