"""Sort candidates by prior scores, and encode them with their rank, for the generator baselines.

A list is int64 [..., L]: candidates in order, −1 behind its end.

Axis letters: B requests, N candidates, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.baselines.prior_order import prior_ranks, prior_scores
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.generator import CandidateEncoder, GeneratorConfig

Utility = Callable[[Tensor], Tensor]
"""The value of outcomes (clicks, conversions, GMV): [...] from [..., 3], as `planners.worth.Worth` gives it."""


def best_first(scores: Tensor, valid: Tensor, length: int) -> Tensor:
    """Sort the `valid` [B, N] candidates by falling `scores` [B, N] to lists int64 [B, length]; ties keep order."""
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks = torch.arange(order.shape[1], device=order.device)
    order = torch.where(ranks < valid.sum(dim=1, keepdim=True), order, -1)
    missing = max(0, length - order.shape[1])
    return nn.functional.pad(order[:, :length], (0, missing), value=-1)


def prior_list(batch: Batch, length: int) -> Tensor:
    """Sort the initial list by the prior score, int64 [B, length]."""
    return best_first(prior_scores(batch), batch["valid"], length)


def gumbel(like: Tensor) -> Tensor:
    """Draw Gumbel noise: the argmax of logits plus noise draws from their softmax."""
    uniform = torch.rand_like(like).clamp(min=torch.finfo(like.dtype).tiny)
    return -(-uniform.log()).log()


def repeat_requests(batch: Batch, count: int) -> Batch:
    """Repeat every request of a batch `count` times in a row."""
    return {name: tensor.repeat_interleave(count, dim=0) for name, tensor in batch.items()}


def check_length(length: int, horizon: int) -> None:
    """Raise `ValueError` if a list of `length` is past a model's `horizon`."""
    if length > horizon:
        raise ValueError(f"length {length} is past the generator's horizon {horizon}")


class RankedEncoder(CandidateEncoder):
    """Encode candidates with a learnt embedding of each one's rank in the prior order.

    `ranks` of them are told apart; later ones share the last. Permuting the candidates still permutes the rows,
    but for those of equal score.
    """

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig, ranks: int) -> None:
        super().__init__(spec, config)
        self.rank = nn.Embedding(ranks, config.dim)
        nn.init.normal_(self.rank.weight, std=0.02)

    def forward(self, batch: Batch) -> Tensor:
        """Encode candidates, M [B, N, D]."""
        ranks = prior_ranks(batch).clamp(max=self.rank.num_embeddings - 1)
        x = self.input.tokens(batch) + self.rank(ranks)
        for block in self.blocks:
            x = block(x, batch["valid"])
        rows: Tensor = self.norm(x)
        return rows
