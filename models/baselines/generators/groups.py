"""Score groups of lists by an evaluator: the one reward that all reward-trained baselines share.

A group is made before training, and again before each further round of it. At first it holds, for every request, the
exposed list, the prior sort, random lists, and the neighbours of the prior sort and of the best list so far. In later
rounds the generator's own list takes the prior sort's place, lists drawn from it the random ones', and the best list
of earlier rounds counts among the best so far. A method that learns in one round has one group of the size of all, so
every method makes as many evaluator calls: `GroupOptions.calls` lists a request.

Axis letters: n requests, B requests of a batch, G lists of a group, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.baselines.generators.goalrank import GoalRank
from models.baselines.generators.gref import GReF
from models.baselines.generators.lists import Utility, best_first, prior_list
from models.baselines.generators.nlgr import NLGRGenerator, put
from models.data.batches import Batch, batches, digest
from models.data.slates import SlateArrays
from models.nets.checkpoint import load_payload, save_payload, weights_digest
from models.nets.value import ListValueModel
from models.planners.search.prefix import PrefixTree

KIND: Final = "scored groups"
_REQUESTS: Final = 256
_GROUP_ARRAYS: Final = ("groups", "values", "bases", "edited")

ListScorer = Callable[[Batch], Callable[[Tensor], Tensor]]
"""``scorer(batch)(lists)``: the value [B, K] of lists [B, K, L] of the batch's requests, which are read once."""


Sampler = GReF | NLGRGenerator | GoalRank
"""A generator that also draws lists, which groups can be made from."""


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """Size a group and the rounds in which it is made.

    `drawn` lists are random, in later rounds of the generator; each of `bases` lists has one neighbour per position.
    Rounds count for most: GoalRank's policy only sharpens as its own lists enter the group, which in the paper they do
    with every batch. Every round has an epoch at least (`within`).
    """

    drawn: int = 6
    bases: int = 2
    rounds: int = 10

    def __post_init__(self) -> None:
        for name, least in (("drawn", 1), ("bases", 0), ("rounds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def starts(self) -> int:
        """Count the lists that a group begins with, before any neighbours."""
        return 2 + self.drawn

    def within(self, epochs: int) -> GroupOptions:
        """Limit the rounds to the number of `epochs`."""
        return dataclasses.replace(self, rounds=min(self.rounds, epochs))

    def size(self, length: int) -> int:
        """Return G for lists of `length`."""
        return self.starts + self.bases * length

    def calls(self, length: int) -> int:
        """Count the lists that the evaluator scores for a request, in all rounds."""
        return self.rounds * self.size(length)

    def at_once(self, length: int) -> GroupOptions:
        """Put all evaluator calls into one round, with the other rounds' lists at random."""
        return GroupOptions(self.drawn + (self.rounds - 1) * self.size(length), self.bases, rounds=1)


@dataclass(frozen=True)
class RewardedSlates:
    """Hold requests with a scored group of lists each.

    `groups` int64 [n, G, L] (−1 past a list's end), `values` float32 [n, G] under the evaluator. A neighbour's `bases`
    [n, G] is the place in the group of the list that it was made from, and `edited` [n, G] the position that was
    changed; other lists have themselves and −1.
    """

    slates: SlateArrays
    groups: Tensor
    values: Tensor
    bases: Tensor
    edited: Tensor

    def __len__(self) -> int:
        return len(self.slates)

    @property
    def digest(self) -> str:
        """Hash requests, lists and values, SHA-256 in hex."""
        return digest(self.slates.arrays() | {name: getattr(self, name).numpy() for name in _GROUP_ARRAYS})

    @property
    def best(self) -> Tensor:
        """Return the list of the highest value of each group, int64 [n, L]."""
        return self.groups[torch.arange(len(self)), self.values.argmax(dim=1)]

    def tensors(self, device: torch.device) -> Batch:
        """Return the slates' tensors and ``groups``, ``values``, ``bases`` and ``edited`` on one device."""
        return self.slates.tensors(device) | {name: getattr(self, name).to(device) for name in _GROUP_ARRAYS}


def first_lists(slates: SlateArrays, options: GroupOptions, seed: int) -> Tensor:
    """Make the first lists of groups: exposed list, prior sort and random lists, [n, 2 + drawn, L]."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for batch in batches(slates.tensors(torch.device("cpu")), _REQUESTS):
        exposed, length = batch["exposed"], batch["exposed"].shape[1]
        drawn = random_lists(batch["valid"], options.drawn, length, generator)
        parts.append(torch.cat([exposed[:, None], prior_list(batch, length)[:, None], drawn], dim=1))
    return torch.cat(parts)


def renewed_lists(
    previous: RewardedSlates, model: Sampler, options: GroupOptions, seed: int, device: torch.device
) -> Tensor:
    """Make the first lists of later groups: the best, the generator's and drawn ones, [n, 2 + drawn, L]."""
    parts = []
    data = previous.slates.tensors(device) | {"best": previous.best.to(device)}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in batches(data, _REQUESTS):
            best = batch.pop("best")
            own = model.generate(batch, best.shape[1])
            drawn = model.sample(batch, best.shape[1], options.drawn)
            parts.append(torch.cat([best[:, None], own[:, None], drawn], dim=1).cpu())
    return torch.cat(parts)


def score_groups(
    slates: SlateArrays, starts: Tensor, scorer: ListScorer, *, options: GroupOptions, seed: int, device: torch.device
) -> RewardedSlates:
    """Score `starts` [n, A, L], then neighbours of start 1 and of the best so far."""
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {name: [] for name in _GROUP_ARRAYS}
    data = slates.tensors(torch.device("cpu")) | {"starts": starts}
    with tqdm(total=len(slates), desc="score groups", unit="request", disable=None) as bar:
        for batch in batches(data, _REQUESTS):
            for name, values in _group(batch, scorer, options, generator, device).items():
                parts[name].append(values)
            bar.update(len(batch["lengths"]))
    return RewardedSlates(slates, **{name: torch.cat(values) for name, values in parts.items()})


@dataclass(frozen=True)
class GroupMaker:
    """Make the groups of several splits, and keep each in a file for resumed runs.

    `splits` by name, the `evaluator` whose values count at their `worth`, and `seed` of all draws. A file whose
    requests, evaluator, worth, options or seed are others, or which was drawn from other groups or another generator,
    raises `ValueError`; a damaged one `CheckpointError`.
    """

    splits: Mapping[str, SlateArrays]
    evaluator: ListValueModel
    worth: Utility
    options: GroupOptions
    seed: int
    device: torch.device

    def first(self, folder: Path) -> dict[str, RewardedSlates]:
        """Make the groups of the first round, which methods of equal options share."""

        def lists(name: str, seed: int) -> Tensor:
            return first_lists(self.splits[name], self.options, seed)

        return {name: self._kept(folder, name, 0, {}, lists) for name in self.splits}

    def renewed(
        self, previous: Mapping[str, RewardedSlates], model: Sampler, folder: Path, past: int
    ) -> dict[str, RewardedSlates]:
        """Make the groups of the round after `past` others from `previous` groups and the generator.

        Those in the folder are taken without drawing again if previous groups and weights are the same.
        """
        weights = weights_digest(model)

        def lists(name: str, seed: int) -> Tensor:
            return renewed_lists(previous[name], model, self.options, seed, self.device)

        return {
            name: self._kept(
                folder, name, past, {"previous groups": previous[name].digest, "generator": weights}, lists
            )
            for name in self.splits
        }

    def _kept(
        self, folder: Path, name: str, past: int, drawn_from: Mapping[str, str], make: Callable[[str, int], Tensor]
    ) -> RewardedSlates:
        """Load a split's groups, or make and keep them where the folder has none.

        `make` gives the first lists, whose groups are then scored.
        """
        number = list(self.splits).index(name)
        seed = int(np.random.SeedSequence([self.seed, number, past]).generate_state(1)[0])
        slates = self.splits[name]
        identity = {
            "requests": slates.digest,
            "evaluator": weights_digest(self.evaluator),
            "worth": repr(self.worth),
            "options": repr(self.options),
            "seed": str(seed),
            **drawn_from,
        }
        # Methods of other options keep theirs in the same folder.
        path = folder / f"groups-{name}-{self.options.starts}.pt"
        if path.exists():
            payload = load_payload(path, KIND)
            _check_identity(path, payload["identity"], identity)
            return RewardedSlates(slates, **{key: payload[key] for key in _GROUP_ARRAYS})
        starts = make(name, seed)
        self.evaluator.to(self.device).eval()
        scorer = evaluator_scorer(self.evaluator, self.worth)
        scored = score_groups(slates, starts, scorer, options=self.options, seed=seed, device=self.device)
        folder.mkdir(parents=True, exist_ok=True)
        save_payload(path, KIND, {"identity": identity} | {key: getattr(scored, key) for key in _GROUP_ARRAYS})
        return scored


def evaluator_scorer(evaluator: ListValueModel, worth: Utility) -> ListScorer:
    """Make a scorer of whole lists from a value model."""

    def scorer(batch: Batch) -> Callable[[Tensor], Tensor]:
        tree = PrefixTree(evaluator, batch)

        def score(lists: Tensor) -> Tensor:
            b, k, length = lists.shape
            requests = torch.arange(b, device=lists.device).repeat_interleave(k)
            outcomes = tree.outcomes(requests, lists.reshape(b * k, length))[:, -1]
            return worth(outcomes.view(b, k, -1))

        return score

    return scorer


def random_lists(valid: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw `count` lists of the `valid` [B, N] candidates uniformly: int64 [B, count, length], −1 past their end."""
    repeated = valid.repeat_interleave(count, dim=0)
    drawn = best_first(torch.rand(repeated.shape, generator=generator), repeated, length)
    return drawn.view(len(valid), count, length)


def neighbours(lists: Tensor, valid: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Change each position once: neighbours int64 [B, L, L], and the position that each changes, [B, L].

    A neighbour has another candidate in one place of the list [B, L], any of the rest alike; one that stands elsewhere
    in the list swaps places. Where there is nothing to change, it is the list itself and the position −1.
    """
    b, length = lists.shape
    own = torch.nn.functional.one_hot(lists.clamp(min=0), valid.shape[1]).bool()
    others = valid[:, None] & ~own & (lists >= 0)[..., None]  # [B, L, N]
    drawn = torch.rand(others.shape, generator=generator).masked_fill(~others, -1.0).argmax(dim=-1)
    possible = others.any(dim=-1)
    places = torch.arange(length).expand(b, -1)
    repeated = lists.repeat_interleave(length, dim=0)
    changed = put(repeated, places.flatten(), drawn.flatten()).view(b, length, length)
    kept = lists[:, None].expand(-1, length, -1)
    return torch.where(possible[..., None], changed, kept), torch.where(possible, places, -1)


def _group(
    batch: Batch, scorer: ListScorer, options: GroupOptions, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    valued = scorer({name: tensor.to(device) for name, tensor in batch.items() if name != "starts"})

    def score(lists: Tensor) -> Tensor:
        return valued(lists.to(device)).float().cpu()

    # Lists that are no neighbours have themselves as base and no edited position.
    groups, valid = batch["starts"], batch["valid"]
    b, _, length = groups.shape
    values = score(groups)
    bases = torch.arange(groups.shape[1]).expand(b, -1)
    edited = torch.full(groups.shape[:2], -1)
    for family in range(options.bases):
        # Neighbours of start 1 come first, then those of the best list so far.
        base = torch.full((b,), 1) if family == 0 else values.argmax(dim=1)
        lists, places = neighbours(groups[torch.arange(b), base], valid, generator)
        own = torch.arange(groups.shape[1], groups.shape[1] + length).expand(b, -1)
        groups = torch.cat([groups, lists], dim=1)
        values = torch.cat([values, score(lists)], dim=1)
        bases = torch.cat([bases, torch.where(places >= 0, base[:, None], own)], dim=1)
        edited = torch.cat([edited, places], dim=1)
    return {"groups": groups, "values": values, "bases": bases, "edited": edited}


def _check_identity(path: Path, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    for key in now:
        if then.get(key) != now[key]:
            raise ValueError(f"{path}: holds groups of another {key}: {then.get(key)}, not {now[key]}")
