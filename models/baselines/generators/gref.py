"""Generate several items per pass autoregressively: GReF (Lin et al., CIKM 2025, arXiv 2510.25220).

Gen-Reranker is a bidirectional encoder over candidates with their rank in the prior order (X + P), a causal decoder and
a softmax of the decoder's state over the candidates' rows. Ordered multi-token prediction (OMTP) gives the decoder H
heads: from the prefix y_{<t}, head i predicts y_{t+i}, so a list takes ⌈L / H⌉ passes. Training has two stages:

1. Pre-training on exposed lists with L_omtp = L_n + L_o. L_n = −Σ_t Σ_i log p_i(y_{t+i} | y_{<t}) over all steps and
   heads. L_o = −log σ(log P(Y⁺) − log P(Y⁻)) over orders of the items that one pass emits, where Y⁺ has the better
   NDCG of the observed feedback.
2. Rerank-DPO: −log σ(β (log π/π_ref(Y_w) − log π/π_ref(Y_l))) with the pre-trained model, frozen, as π_ref; β = 0.1.

Simplified: there is no end token, as lists have a fixed length; the start is the request's own, as in
`PointerGenerator`, instead of one for all. A head's softmax leaves out the items of the heads before it, as decoding
does, and L_o compares the best with the worst order of a pass by log-probability, not all pairs by probability (which
would differ by next to nothing). Preference pairs come from the evaluator's values of a group of lists, instead of from
the clicks of one exposed list: one reward for all methods, and lists beyond those exposed. A step draws PAIRS pairs of
a group, the i-th best of those drawn against the i-th of their lower half. As in the paper, pairs are made once, before
post-training; pairs of the model's own lists, made anew along the way, were tried and led DPO astray.

Axis letters: B requests, S lists of a request, L positions, N candidates, D width, H heads, P passes.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.generators.lists import RankedEncoder, Utility, check_length, gumbel, repeat_requests
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.generator import GeneratorConfig, PointerGenerator, remaining, take_best

HEADS: Final = 4
"""H, the paper's; never more than a list has positions."""
BETA: Final = 0.1
"""β of Rerank-DPO, the paper's."""
PAIRS: Final = 10
"""Pairs of a request in a step of Rerank-DPO."""


class GReF(nn.Module):
    """Extend `PointerGenerator` by prior ranks in the encoder and H heads in the decoder."""

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig, candidates: int, heads: int = HEADS) -> None:
        super().__init__()
        self.config = config
        self.trunk = PointerGenerator(spec, config)
        self.trunk.encoder = RankedEncoder(spec, config, candidates)
        count = min(heads, config.list_length)
        self.ahead = nn.ModuleList(nn.Linear(config.dim, config.dim, bias=False) for _ in range(count))

    @property
    def heads(self) -> int:
        """Return H, the items per pass."""
        return len(self.ahead)

    def logits(self, head: int, states: Tensor, rows: Tensor) -> Tensor:
        """Multiply states [B, ..., D] with the candidates' rows [B, N, D] by one head, [B, ..., N]."""
        ahead = self.ahead[head]
        query = (states + ahead(states)).flatten(1, -2)
        return self.trunk.point(query, rows).view(*states.shape[:-1], -1)

    def decoding_logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """Compute each position's logits [B, S, L, N] from the pass and head that emit it."""
        starts = states[:, :, :: self.heads]  # [B, S, P, D]
        passes = torch.stack([self.logits(i, starts, rows) for i in range(self.heads)], dim=3)
        return passes.flatten(2, 3)[:, :, : states.shape[2]]

    def log_lists(self, batch: Batch, lists: Tensor) -> Tensor:
        """Compute log π of whole lists [B, S, L]: [B, S]."""
        states, rows = self.trunk.read(batch, lists)
        return chosen_log_shares(self.decoding_logits(states, rows), lists, batch["valid"]).sum(dim=-1)

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Decode lists int64 [B, length], H items a pass; −1 where none is left.

        Raises `ValueError` past the horizon.
        """
        return self._decode(batch, length, draw=False)

    @torch.inference_mode()
    def sample(self, batch: Batch, length: int, count: int) -> Tensor:
        """Draw `count` lists item by item, int64 [B, count, length]; −1 where none is left."""
        return self._decode(repeat_requests(batch, count), length, draw=True).view(-1, count, length)

    def _decode(self, batch: Batch, length: int, *, draw: bool) -> Tensor:
        check_length(length, self.config.list_length)
        rows = self.trunk.encoder(batch)
        inputs = self.trunk.start_token(batch)[:, None]
        left = batch["valid"].clone()
        chosen: list[Tensor] = []
        while len(chosen) < length:
            state = self.trunk.decode(inputs)[:, -1:]
            for head in range(min(self.heads, length - len(chosen))):
                logits = self.logits(head, state, rows)[:, 0]
                scores = logits + gumbel(logits) if draw else logits
                item, left, inputs = take_best(scores, left, inputs, rows)
                chosen.append(item)
        return torch.stack(chosen, dim=1)


def chosen_log_shares(logits: Tensor, lists: Tensor, valid: Tensor) -> Tensor:
    """Take log-probabilities of the items of `lists` [B, S, L] among those left, 0 past the end: [B, S, L].

    `logits` [B, S, L, N], `valid` bool [B, N].
    """
    shares = torch.log_softmax(logits.masked_fill(~remaining(lists, valid), -torch.inf), dim=-1)
    return torch.where(lists >= 0, shares.gather(-1, lists.clamp(min=0)[..., None])[..., 0], 0.0)


def pretraining_loss(model: nn.Module, batch: Batch, utility: Utility) -> Tensor:
    """Compute L_omtp on exposed lists; `utility` of an item's labels orders a pass."""
    assert isinstance(model, GReF)
    exposed = batch["exposed"]
    states, rows = model.trunk.read(batch, exposed[:, None])
    future = multi_token_loss(model, states, rows, exposed, batch["valid"])
    best, worst = pass_orders(exposed, utility(batch["labels"]), model.heads)
    logits = model.decoding_logits(states, rows)
    log_shares = [chosen_log_shares(logits, order[:, None], batch["valid"])[:, 0] for order in (best, worst)]
    return future + ordered_loss(log_shares[0], log_shares[1], best != worst, model.heads)


def multi_token_loss(model: GReF, states: Tensor, rows: Tensor, lists: Tensor, valid: Tensor) -> Tensor:
    """Compute L_n: −Σ_t Σ_i log p_i(y_{t+i} | y_{<t}), mean over B. `states` [B, 1, L, D], `lists` int64 [B, L]."""
    left = remaining(lists[:, None], valid)
    total = torch.zeros(len(lists), device=lists.device)
    for head in range(model.heads):
        logits = model.logits(head, states[:, :, : lists.shape[1] - head], rows)
        shares = torch.log_softmax(logits.masked_fill(~left[:, :, head:], -torch.inf), dim=-1)[:, 0]
        targets = lists[:, head:]
        log_chosen = shares.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        total = total - torch.where(targets >= 0, log_chosen, 0.0).sum(dim=1)
    return total.mean()


def pass_orders(lists: Tensor, gains: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Sort each pass of lists [B, L] by falling and by rising `gains` [B, L].

    Items of equal gain keep the order in which they were shown.
    """
    passes = torch.arange(lists.shape[1], device=lists.device) // heads
    there = lists >= 0
    orders = []
    for sign in (-1.0, 1.0):
        keys = (sign * gains).masked_fill(~there, torch.inf)
        by_gain = keys.argsort(dim=1, stable=True)
        by_pass = passes[by_gain].argsort(dim=1, stable=True)
        orders.append(lists.gather(1, by_gain.gather(1, by_pass)))
    return orders[0], orders[1]


def ordered_loss(best: Tensor, worst: Tensor, differs: Tensor, heads: int) -> Tensor:
    """Compute L_o: −Σ log σ(log P(Y⁺) − log P(Y⁻)) over differing passes, mean over B.

    `best` and `worst` [B, L] are log-probabilities of items, `differs` bool [B, L] where the two orders do.
    """
    padding = -best.shape[1] % heads

    def per_pass(x: Tensor) -> Tensor:
        return F.pad(x, (0, padding)).view(len(x), -1, heads)

    margins = per_pass(best - worst).sum(dim=-1)
    there = per_pass(differs).any(dim=-1)
    return -torch.where(there, F.logsigmoid(margins), 0.0).sum(dim=1).mean()


def rerank_dpo_loss(model: nn.Module, batch: Batch, reference: GReF) -> Tensor:
    """Compute Rerank-DPO against a `reference`; batches hold ``groups`` [B, G, L] and ``values`` [B, G]."""
    assert isinstance(model, GReF)
    chosen = _drawn(batch["values"], 2 * PAIRS, at_random=model.training)
    groups = batch["groups"].gather(1, chosen[..., None].expand(-1, -1, batch["groups"].shape[-1]))
    with torch.no_grad():
        before = reference.log_lists(batch, groups)
    return dpo_loss(model.log_lists(batch, groups) - before, batch["values"].gather(1, chosen))


def _drawn(values: Tensor, count: int, *, at_random: bool) -> Tensor:
    """Pick `count` places in each group [B, G], at random or by rank: int64 [B, count]."""
    size = values.shape[1]
    if at_random:
        return torch.rand_like(values).argsort(dim=1)[:, :count]
    spread = torch.linspace(0, size - 1, min(count, size), device=values.device).round().long()
    return values.argsort(dim=1, descending=True, stable=True)[:, spread]


def dpo_loss(log_ratios: Tensor, values: Tensor) -> Tensor:
    """Compute −log σ(β (ratio_w − ratio_l)), mean over pairs, from log π/π_ref and values [B, G].

    The i-th best list is preferred to the (i + ⌈G / 2⌉)-th. 0 where a batch has no pair of unequal value.
    """
    ranking = values.argsort(dim=1, descending=True, stable=True)
    half = values.shape[1] // 2
    winners, losers = ranking[:, :half], ranking[:, -half:]
    preferred = values.gather(1, winners) > values.gather(1, losers)
    margins = log_ratios.gather(1, winners) - log_ratios.gather(1, losers)
    return -(F.logsigmoid(BETA * margins) * preferred).sum() / preferred.sum().clamp(min=1)
