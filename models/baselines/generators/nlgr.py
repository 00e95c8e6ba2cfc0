"""Improve a list by single replacements: NLGR's generator (Wang et al., WWW 2025, arXiv 2502.06097).

From the initial list (the prior sort) it moves to a neighbour list again and again. The position decision unit (PDU)
chooses the position, from each item's token in the list's context, the whole list and the position embedding; the
candidate retrieval unit (CRU) masks that position, reads the rest of the list in both directions, and chooses the
candidate to stand there. It stops where the CRU keeps what stands there.

Training is counterfactual: the evaluator scores a list and neighbours of it, one per position with a random candidate
there, and r_j is neighbour j's value less the list's (the paper's relative reward). L = L₁ + α·L₂ (eq. 18), where L₁
is −Σ_j r_j and L₂ (eq. 17) the cross-entropy of the PDU's distribution to the normalised positive rewards; α = 0.2.

Simplified: neighbours are scored before each round of training, so L₁ is the expectation −Σ_j q(c_j | j)·r_j
under the CRU's own distribution instead of a Gumbel-softmax sample of it, and rewards are values in units of their
standard deviation instead of the paper's exponential of bids. A candidate that already stands in the list swaps places,
as a list has none twice; with it orders can be reached at all. Lists without a gain among their neighbours teach the
PDU nothing (the paper's normalisation is undefined there). When the CRU keeps an item, decoding goes on with the next
best position instead of stopping at once, for at most 4·L looks in all. The user is part of every candidate's row
already.

Axis letters: B lists, N candidates, L positions, D width, G lists of a group.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.baselines.generators.lists import check_length, gather_rows, gumbel, prior_list, repeat_requests
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.blocks import Block
from models.nets.generator import CandidateEncoder, GeneratorConfig

POSITION_WEIGHT: Final = 0.2
"""α of eq. 18, the paper's."""
_LOOKS: Final = 4


class NLGRGenerator(nn.Module):
    """Encode candidates, read the list in both directions, and decide on positions and candidates."""

    def __init__(self, spec: FeatureSpec, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CandidateEncoder(spec, config)
        self.position = nn.Embedding(config.list_length, config.dim)
        self.masked = nn.Parameter(torch.randn(config.dim))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, feed_forward=4 * config.dim, dropout=config.dropout, causal=False)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.place = _mlp(3 * config.dim, config.dim, 1)
        self.slot = _mlp(2 * config.dim, config.dim, config.dim)
        self.candidate = _mlp(2 * config.dim, config.dim, config.dim)

    def position_logits(self, rows: Tensor, lists: Tensor) -> Tensor:
        """Compute the PDU's logits [B, L] of the position to change in `lists` [B, L].

        `rows` [B, N, D] are the candidates'; −inf past a list's end.
        """
        positions = self.position.weight[: lists.shape[1]].expand(len(lists), -1, -1)
        there = lists >= 0
        tokens = self._read(gather_rows(rows, lists) + positions, there)
        whole = (tokens * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        joined = torch.cat([tokens, whole[:, None].expand_as(tokens), positions], dim=-1)
        logits: Tensor = self.place(joined)[..., 0]
        return logits.masked_fill(~there, -torch.inf)

    def candidate_logits(self, rows: Tensor, lists: Tensor, places: Tensor, valid: Tensor) -> Tensor:
        """Compute the CRU's logits [B, N] of the candidate for position `places` int64 [B] of `lists` [B, L].

        −inf for padding.
        """
        b, length = lists.shape
        here = torch.arange(length, device=lists.device) == places[:, None]
        items = torch.where(here[..., None], self.masked, gather_rows(rows, lists))
        tokens = self._read(items + self.position.weight[:length], lists >= 0)
        position = self.position(places)
        around = tokens[torch.arange(b, device=lists.device), places]
        wanted = self.slot(torch.cat([around, position], dim=-1))
        offered = self.candidate(torch.cat([rows, position[:, None].expand_as(rows)], dim=-1))
        logits: Tensor = (offered @ wanted[..., None])[..., 0] / self.config.dim**0.5
        return logits.masked_fill(~valid, -torch.inf)

    def _read(self, x: Tensor, there: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, there | ~there.any(dim=1, keepdim=True))
        hidden: Tensor = self.norm(x)
        return hidden

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Change the prior sort to lists int64 [B, length] by best changes. `ValueError` past L."""
        return self._decode(batch, length, draw=False)

    @torch.inference_mode()
    def sample(self, batch: Batch, length: int, count: int) -> Tensor:
        """Draw `count` lists [B, count, length] by drawn changes instead of best ones."""
        return self._decode(repeat_requests(batch, count), length, draw=True).view(-1, count, length)

    def _decode(self, batch: Batch, length: int, *, draw: bool) -> Tensor:
        check_length(length, self.config.list_length)
        rows, lists = self.encoder(batch), prior_list(batch, length)
        settled = lists < 0
        everyone = torch.arange(len(lists), device=lists.device)
        for _ in range(_LOOKS * length):
            if settled.all():
                break
            places = _choose(self.position_logits(rows, lists).masked_fill(settled, -torch.inf), draw)
            items = _choose(self.candidate_logits(rows, lists, places, batch["valid"]), draw)
            # A request that is settled everywhere points at some place anyway; it must stay as it is.
            changed = ~settled.all(dim=1) & (items != lists[everyone, places])
            lists = torch.where(changed[:, None], put(lists, places, items), lists)
            settled = torch.where(changed[:, None], lists < 0, settled)
            settled[everyone, places] = True
        return lists


def _choose(logits: Tensor, draw: bool) -> Tensor:
    """Choose the best of [B, M], or draw one from their softmax: int64 [B]."""
    masked = logits == -torch.inf
    return (logits + gumbel(logits) if draw else logits).masked_fill(masked, -torch.inf).argmax(dim=1)


def put(lists: Tensor, places: Tensor, items: Tensor) -> Tensor:
    """Put `items` [B] at positions `places` [B] of `lists` [B, L].

    An item that stood elsewhere in the list swaps places with the one that it replaces.
    """
    replaced = lists.gather(1, places[:, None])
    swapped = torch.where(lists == items[:, None], replaced, lists)
    return swapped.scatter(1, places[:, None], items[:, None])


def nlgr_loss(model: nn.Module, batch: Batch, scale: float) -> Tensor:
    """Compute L₁ + α·L₂ on scored groups; `scale` is the unit of rewards.

    Batches hold ``groups`` [B, G, L], ``values`` [B, G], and for every list the index of the list that it is a
    neighbour of, ``bases`` [B, G] (its own, if of none), and the position where they differ, ``edited`` [B, G].
    """
    assert isinstance(model, NLGRGenerator)
    # Neighbours and the lists that they were made from, with the reward of each change.
    groups, edited = batch["groups"], batch["edited"]
    there = edited >= 0
    request = torch.arange(len(groups), device=groups.device)[:, None].expand_as(edited)[there]
    bases, places = batch["bases"][there], edited[there]
    base, neighbour = groups[request, bases], groups[there]
    rewards = (batch["values"][there] - batch["values"][request, bases]) / scale
    # The CRU's chance of choosing the neighbour's candidate for its place.
    rows = model.encoder(batch)
    offers = model.candidate_logits(rows[request], base, places, batch["valid"][request])
    new = neighbour.gather(1, places[:, None])
    chance = torch.softmax(offers, dim=1).gather(1, new)[:, 0]
    # The PDU learns the positive rewards of each place, of lists that have any.
    gains = torch.zeros(groups.shape, device=rewards.device)
    gains.index_put_((request, bases, places), rewards.clamp(min=0), accumulate=True)
    owners, which = (gains.sum(dim=-1) > 0).nonzero(as_tuple=True)
    # L₁ is a mean over the lists that neighbours were made from.
    taught = torch.zeros(groups.shape[:2], dtype=torch.bool, device=groups.device)
    taught[request, bases] = True
    counterfactual = -(chance * rewards).sum() / taught.sum().clamp(min=1)
    position = position_loss(model.position_logits(rows[owners], groups[owners, which]), gains[owners, which])
    return counterfactual + POSITION_WEIGHT * position


def position_loss(logits: Tensor, gains: Tensor) -> Tensor:
    """Compute L₂: cross-entropy of the PDU's softmax to gains / Σ gains, mean over B.

    `logits` [B, L] with −inf past a list's end; `gains` [B, L], at least 0 and not all 0 in any list.
    """
    shares = gains / gains.sum(dim=1, keepdim=True)
    log_places = torch.where(gains > 0, torch.log_softmax(logits, dim=1), 0.0)
    return -(shares * log_places).sum() / max(1, len(gains))


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
