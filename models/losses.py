"""The ordered regression loss of a list value model (SORT-Gen, eq. 4 and 5).

Axis letters: B lists, L positions (j) and thresholds (i), both counted from 0 here and from 1 in the paper, O counted
objectives (click, conversion). It sees logits and labels; it knows nothing about features or models.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ordered_targets(labels: Tensor) -> Tensor:
    """Labels [B, L, O] (events per position) to targets [B, L, O, L]: 1 where the first j+1 items have ≥ i+1 events."""
    counts = labels.cumsum(dim=1)
    thresholds = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    return (counts.unsqueeze(-1) >= thresholds).to(labels.dtype)


def ordered_mask(lengths: Tensor, observed: Tensor, list_length: int) -> Tensor:
    """Where there is a loss, bool [B, L, O, L]: i ≤ j, j before the exposed `lengths` [B], objective `observed` [B, O].

    Thresholds above the list's own length are certain and so teach nothing; positions past the end were never seen.
    """
    steps = torch.arange(list_length, device=lengths.device)
    reachable = steps[None, :] <= steps[:, None]
    exposed = steps[None, :] < lengths[:, None]
    return exposed[:, :, None, None] & observed[:, None, :, None] & reachable[None, :, None, :]


def ordered_regression_loss(logits: Tensor, labels: Tensor, lengths: Tensor, observed: Tensor) -> Tensor:
    """Eq. 4: binary cross-entropies summed over thresholds, positions and objectives; mean over the batch's lists.

    `logits` [B, L, O, L], `labels` [B, L, O], `lengths` [B], `observed` bool [B, O]; returns a scalar. It is a sum over
    up to O·L·(L+1)/2 terms, so it grows with L. It is not divided by their number: that would weigh short lists and
    unrecorded objectives differently from the paper, and Adam's steps do not depend on the loss's scale.
    """
    mask = ordered_mask(lengths, observed, logits.shape[1])
    terms = F.binary_cross_entropy_with_logits(logits, ordered_targets(labels), reduction="none")
    return terms.masked_fill(~mask, 0.0).sum() / len(logits)
