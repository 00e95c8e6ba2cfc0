"""Score candidates and sort them: PRM, personalised re-ranking (Pei et al., RecSys 2019, arXiv 1904.06813).

The initial list, sorted by the prior score, passes through a transformer: item features and a learnt embedding of the
initial position in (the paper's input layer, X + PE), self-attention over the whole list, one linear layer out. The
loss is the paper's, a softmax over the list's scores against its clicks: L = −Σ_i y_i log P(i).

Simplified: the personalised vectors PV, taken there from a click model trained before, are the user's features
and the prior score, which every token holds here. Only exposed items have labels, so the softmax of the loss runs over
these, while attention sees all candidates. Labels may be any observed value, of which clicks are one.

Axis letters: B requests, N candidates, L positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.baselines.generators.lists import RankedEncoder, Utility, best_first, check_length
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.generator import GeneratorConfig


class PRM(nn.Module):
    """Score encoded candidates linearly; `candidates` is the number of initial positions that are told apart."""

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig, candidates: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = RankedEncoder(spec, config, candidates)
        self.out = nn.Linear(config.dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Compute scores [B, N]."""
        scores: Tensor = self.out(self.encoder(batch))[..., 0]
        return scores

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Sort lists int64 [B, length] by falling score, −1 where none is left. `ValueError` past the horizon."""
        check_length(length, self.config.list_length)
        return best_first(self(batch), batch["valid"], length)


def prm_loss(model: nn.Module, batch: Batch, utility: Utility) -> Tensor:
    """Compute the list-wise softmax loss, with `utility` of an item's own labels as its y_i."""
    return listwise_loss(model(batch), batch["exposed"], utility(batch["labels"]))


def listwise_loss(scores: Tensor, lists: Tensor, gains: Tensor) -> Tensor:
    """Compute −Σ_i y_i log softmax(s)_i over the items of each list, mean over B.

    `scores` [B, N], `lists` int64 [B, L], `gains` y [B, L].
    """
    there = lists >= 0
    chosen = scores.gather(1, lists.clamp(min=0)).masked_fill(~there, torch.finfo(scores.dtype).min)
    log_shares = torch.log_softmax(chosen, dim=1)
    return -torch.where(there, gains * log_shares, 0.0).sum(dim=1).mean()
