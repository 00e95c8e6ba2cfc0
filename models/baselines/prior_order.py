"""Sort the candidates of requests by their prior scores.

Axis letters: B requests, N candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.data.batches import Batch


def prior_scores(batch: Batch) -> Tensor:
    """Return the prior score of each candidate, [B, N]: the spec's first score.

    Without scores all are alike, which leaves the candidates in the order in which the request has them.
    """
    scores = batch["item_scores"]
    if scores.shape[-1]:
        return scores[..., 0]
    return torch.zeros(batch["valid"].shape, device=batch["valid"].device)


def prior_ranks(batch: Batch) -> Tensor:
    """Rank candidates in the prior order, int64 [B, N] from 0; padding comes last."""
    order = prior_scores(batch).masked_fill(~batch["valid"], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1)
