"""Distil a generator from a reference policy: GoalRank (Zhang et al., ICLR 2026, arXiv 2509.22046).

A reward model r̂ scores a group of lists 𝓑 of a request. Standardising within the group removes the model's bias, and a
softmax makes a reference policy of it (eq. 4): π_ref(l) ∝ exp((r̂(l) − mean_𝓑) / std_𝓑). The generator minimises its
cross-entropy, hence its KL divergence, to that policy (eq. 5): −Σ_l π_ref(l) log π_θ(l), where log π_θ(l) sums over
the list's steps.

The generator is `PointerGenerator`, the same as DeGRe's: the loss says nothing about the architecture, and with the
same one only the way of learning differs. As in the paper, groups hold lists that the generator itself samples beside
those of auxiliary policies (exposed, prior sort, random, neighbours of good lists; see `groups.py`). Simplified:
groups are renewed round by round instead of batch by batch, and the auxiliary policies are not learnt.

Axis letters: B requests, G lists of a group, L positions, N candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.baselines.generators.lists import gumbel
from models.data.batches import Batch
from models.nets.generator import PointerGenerator


class GoalRank(PointerGenerator):
    """Point as `PointerGenerator` does, and draw lists from the distribution."""

    @torch.inference_mode()
    def sample(self, batch: Batch, length: int, count: int) -> Tensor:
        """Draw `count` lists step by step, int64 [B, count, length]; −1 where none is left."""
        return self.write(batch, length, lambda logits: logits + gumbel(logits), count).view(-1, count, length)


def goalrank_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Compute the cross-entropy of a `GoalRank` to the reference policy; batches hold ``groups`` and ``values``."""
    groups = batch["groups"]
    steps = model(batch, groups).gather(-1, groups.clamp(min=0)[..., None])[..., 0]
    log_lists = torch.where(groups >= 0, steps, 0.0).sum(dim=-1)
    return group_cross_entropy(log_lists, batch["values"])


def reference_policy(values: Tensor) -> Tensor:
    """Compute π_ref [B, G] of list values [B, G]; uniform where all lists are worth the same."""
    centred = values - values.mean(dim=1, keepdim=True)
    deviation = values.std(dim=1, keepdim=True, correction=0)
    return torch.softmax(centred / deviation.clamp(min=torch.finfo(values.dtype).tiny), dim=1)


def group_cross_entropy(log_lists: Tensor, values: Tensor) -> Tensor:
    """Compute −Σ_l π_ref(l) log π_θ(l), mean over B; both [B, G]."""
    return -(reference_policy(values) * log_lists).sum(dim=1).mean()
