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

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from models.baselines.generators.lists import check_length, gumbel, prior_list
from models.contract.spec import FeatureSpec
from models.data.batches import Batch
from models.nets.blocks import Block
from models.nets.generator import CandidateEncoder, GeneratorConfig

POSITION_WEIGHT: Final = 0.2
"""α of eq. 18, the paper's."""
_LOOKS: Final = 4
_LISTS: Final = 128
"""Lists that a search reads in one pass on a CPU: few enough for their activations to stay in a core's cache."""


@dataclass(frozen=True)
class Candidates:
    """Hold what a batch's requests offer to all their lists.

    `rows` [B, N, D] are the candidates'; `offers` [B, L, N, D] what the CRU compares with each position; `valid` bool
    [B, N] tells candidates from padding.
    """

    rows: Tensor
    offers: Tensor
    valid: Tensor

    def items(self, owners: Tensor, lists: Tensor) -> Tensor:
        """Gather the rows [A, L, D] along `lists` [A, L] of requests `owners` [A]; candidate 0's past an end."""
        return self.rows[owners[:, None], lists.clamp(min=0)]


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

    def candidates(self, batch: Batch) -> Candidates:
        """Encode the candidates of a batch's requests, once for all lists of each."""
        rows, positions = self.encoder(batch), self.position.weight
        shape = (len(rows), len(positions), *rows.shape[1:])
        joined = torch.cat([rows[:, None].expand(shape), positions[:, None].expand(shape)], dim=-1)
        return Candidates(rows, self.candidate(joined), batch["valid"])

    def position_logits(self, candidates: Candidates, owners: Tensor, lists: Tensor) -> Tensor:
        """Compute the PDU's logits [B, L] of the position to change in `lists` [B, L] of requests `owners` [B].

        −inf past a list's end.
        """
        there = lists >= 0
        positions = self.position.weight[: lists.shape[1]].expand(len(lists), -1, -1)
        tokens = self._read(candidates.items(owners, lists) + positions, there)
        whole = (tokens * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        joined = torch.cat([tokens, whole[:, None].expand_as(tokens), positions], dim=-1)
        logits: Tensor = self.place(joined)[..., 0]
        return logits.masked_fill(~there, -torch.inf)

    def candidate_logits(self, candidates: Candidates, owners: Tensor, lists: Tensor, places: Tensor) -> Tensor:
        """Compute the CRU's logits [B, N] of the candidate for position `places` int64 [B] of `lists` [B, L].

        The lists are of requests `owners` [B]. −inf for padding.
        """
        everyone = torch.arange(lists.shape[1], device=lists.device)
        here = (everyone == places[:, None])[..., None]
        items = torch.where(here, self.masked, candidates.items(owners, lists))
        tokens = self._read(items + self.position.weight[: lists.shape[1]], lists >= 0)
        around = tokens[torch.arange(len(lists), device=lists.device), places]
        wanted = self.slot(torch.cat([around, self.position(places)], dim=-1))
        logits: Tensor = (candidates.offers[owners, places] @ wanted[..., None])[..., 0] / self.config.dim**0.5
        return logits.masked_fill(~candidates.valid[owners], -torch.inf)

    def _read(self, x: Tensor, there: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return self._read_part(x, there)
        starts = range(0, max(1, len(x)), _LISTS)
        return torch.cat([self._read_part(x[i : i + _LISTS], there[i : i + _LISTS]) for i in starts])

    def _read_part(self, x: Tensor, there: Tensor) -> Tensor:
        keep = None if there.all() else there | ~there.any(dim=1, keepdim=True)
        for block in self.blocks:
            x = block(x, keep)
        hidden: Tensor = self.norm(x)
        return hidden

    @torch.inference_mode()
    def generate(self, batch: Batch, length: int) -> Tensor:
        """Change the prior sort to lists int64 [B, length] by best changes. `ValueError` past L."""
        return self._decode(batch, length, 1, draw=False)

    @torch.inference_mode()
    def sample(self, batch: Batch, length: int, count: int) -> Tensor:
        """Draw `count` lists [B, count, length] by drawn changes instead of best ones."""
        return self._decode(batch, length, count, draw=True).view(-1, count, length)

    def _decode(self, batch: Batch, length: int, count: int, *, draw: bool) -> Tensor:
        """Change the prior sort of each request `count` times: lists [B · count, length].

        Lists share what is their request's. A list leaves the passes once no place of it is left to look at, and no
        unit reads a list of a request twice.
        """
        check_length(length, self.config.list_length)
        candidates, prior = self.candidates(batch), prior_list(batch, length)
        requests = torch.arange(len(prior), device=prior.device)
        owners = requests.repeat_interleave(count)
        lists, settled = prior[owners], prior[owners] < 0
        logits_of_places = _Remembered(partial(self.position_logits, candidates))
        logits_of_items = _Remembered(partial(self.candidate_logits, candidates))
        place_logits = logits_of_places(owners, lists)
        offered = candidates.valid[owners].float()
        for _ in range(_LOOKS * length):
            looking = (~settled).any(dim=1).nonzero()[:, 0]
            if not len(looking):
                break
            # Noise is drawn for every list, so that the draws of one do not depend on when the others are settled.
            place_noise, item_noise = (gumbel(x)[looking] if draw else 0.0 for x in (place_logits, offered))
            places = (place_logits[looking].masked_fill(settled[looking], -torch.inf) + place_noise).argmax(dim=1)
            before = lists[looking]
            item_logits = logits_of_items(owners[looking], before, places)
            items = (item_logits + item_noise).argmax(dim=1)
            changed = items != before.gather(1, places[:, None])[:, 0]
            moved = looking[changed]
            lists[moved] = put(before[changed], places[changed], items[changed])
            settled[moved] = lists[moved] < 0
            settled[looking, places] = True
            place_logits[moved] = logits_of_places(owners[moved], lists[moved])
        return lists


class _Remembered:
    """Remember the logits of each list, so that a unit reads none twice.

    Changes lead back to earlier lists again and again, and to the same ones from several drawn lists of a request.
    """

    def __init__(self, read: Callable[..., Tensor]) -> None:
        self._read = read
        self._rows: dict[bytes, int] = {}
        self._logits: list[Tensor] = []

    def __call__(self, owners: Tensor, lists: Tensor, *places: Tensor) -> Tensor:
        """Return what `read` gives for lists [A, L] of requests `owners` [A], at `places` [A] if it takes any."""
        joined = torch.cat([owners[:, None], lists, *(some[:, None] for some in places)], dim=1)
        keys, new = [key.tobytes() for key in joined.cpu().numpy()], []
        for i, key in enumerate(keys):
            if key not in self._rows:
                self._rows[key] = len(self._rows)
                new.append(i)
        if new:
            self._logits.append(self._read(owners[new], lists[new], *(some[new] for some in places)))
        return torch.cat(self._logits)[[self._rows[key] for key in keys]]


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
    candidates = model.candidates(batch)
    logits = model.candidate_logits(candidates, request, base, places)
    new = neighbour.gather(1, places[:, None])
    chance = torch.softmax(logits, dim=1).gather(1, new)[:, 0]
    # The PDU learns the positive rewards of each place, of lists that have any.
    gains = torch.zeros(groups.shape, device=rewards.device)
    gains.index_put_((request, bases, places), rewards.clamp(min=0), accumulate=True)
    owners, which = (gains.sum(dim=-1) > 0).nonzero(as_tuple=True)
    # L₁ is a mean over the lists that neighbours were made from.
    taught = torch.zeros(groups.shape[:2], dtype=torch.bool, device=groups.device)
    taught[request, bases] = True
    counterfactual = -(chance * rewards).sum() / taught.sum().clamp(min=1)
    position_logits = model.position_logits(candidates, owners, groups[owners, which])
    position = position_loss(position_logits, gains[owners, which])
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
