"""Compute the losses of a value model: path likelihood, listwise, ordered regression, entire space.

Axis letters: B lists, L positions (j) and thresholds (i), both counted from 0 here and from 1 in the paper, O counted
objectives (click, conversion), K states of a hazard.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

_CERTAIN: Final = 1e-6
"""How near to 0 and 1 a probability may come before its logarithm is taken."""


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


def ordered_hazards_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute the ordered loss of hazards, from the counts' distribution that they imply.

    Arguments as of `path_loss`; terms and their sum as of `ordered_regression_loss`. For experiments: it learns less of
    a list than `path_loss` does (docs/results.md).
    """
    mask = ordered_mask(lengths, observed, logits.shape[1])
    reached = count_tails(logits).clamp(_CERTAIN, 1 - _CERTAIN)
    terms = F.binary_cross_entropy(reached, ordered_targets(labels), reduction="none")
    return terms.masked_fill(~mask, 0.0).sum() / len(logits)


def count_tails(logits: Tensor) -> Tensor:
    """Compute P(the first j+1 items have ≥ i+1 events), [B, L, O, L], from hazards' logits [B, L, O, K]."""
    _, length, _, states = logits.shape
    state = torch.arange(length + 1, device=logits.device).clamp(max=states - 1)
    # The distribution of the whole count, not of min(count, K − 1): thresholds go up to L.
    count = F.pad(torch.ones_like(logits[:, 0, :, :1]), (0, length))
    tails = []
    for place in logits.unbind(1):
        moving = count * torch.sigmoid(place)[..., state]
        count = count - moving + F.pad(moving[..., :-1], (1, 0))
        tails.append(count.flip(-1).cumsum(-1).flip(-1)[..., 1:])
    return torch.stack(tails, dim=1)


def path_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Compute minus the log likelihood of the events along each list, mean over lists.

    `logits` [B, L, O, K] are hazards by the number of events before, `labels` [B, L, O] 0 or 1, `lengths` [B],
    `observed` bool [B, O]. Places and objectives are summed. At each place the hazard of the list's state meets the
    event that followed. That is exactly the likelihood of the path: no target is a difference of two noisy sums.
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


def entire_space_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Sum cross-entropies of clicks and purchases over places as ESMM does, mean over lists.

    `logits` [B, L, 2, 1] are of a click and of a purchase given a click; other arguments as of `path_loss`. A purchase
    has the probability pCTCVR = pCTR · pCVR and is learnt from all exposed places, not from clicked ones alone: pCVR
    has no term of its own. SORT-Gen's "ESMM-like modeling loss" (Table 2) is read so. Its remark that ESMMs "mask the
    click loss for partially completed conversions" names no term of that loss, so none is masked here.
    """
    click, bought = F.logsigmoid(logits[..., 0]).unbind(-1)
    chances = torch.stack([click, click + bought], dim=-1).clamp(max=-_CERTAIN)
    terms = -(labels * chances + (1 - labels) * torch.log(-torch.expm1(chances)))
    return terms.masked_fill(~_seen(lengths, observed, labels.shape[1]), 0.0).sum() / len(logits)


def _seen(lengths: Tensor, observed: Tensor, list_length: int) -> Tensor:
    """Mark places before the list's end, of observed objectives, bool [B, L, O]."""
    places = torch.arange(list_length, device=lengths.device)
    return (places[None, :] < lengths[:, None])[:, :, None] & observed[:, None, :]
