"""Groups of lists and what an evaluator says they are worth: the one reward that all reward-trained baselines share.

A group holds, for every request, the exposed list, the prior sort, random lists, and the neighbours of the prior sort
and of the best list so far. It is scored once, before training, so every method makes the same number of evaluator
calls: `GroupOptions.size` lists a request. Nothing here knows which method learns from it.

Axis letters: n requests, B requests of a batch, G lists of a group, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from models.baselines.lists import Utility, best_first, prior_list
from models.baselines.nlgr_generator import put
from models.batches import Batch, batches, digest
from models.checkpoint import load_payload, save_payload
from models.planners.prefix import list_outcomes
from models.slates import SlateArrays
from models.value import ListValueModel

KIND: Final = "scored groups"
_REQUESTS: Final = 256
_GROUP_ARRAYS: Final = ("groups", "values", "bases", "edited")

Scorer = Callable[[Batch, Tensor], Tensor]
"""``scorer(batch, lists)``: the value [B, K] of lists [B, K, L] of the batch's requests."""


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What a group holds: `random` lists, and one neighbour per position of each of `bases` lists."""

    random: int = 6
    bases: int = 2

    def __post_init__(self) -> None:
        for name in ("random", "bases"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")

    def size(self, length: int) -> int:
        """G for lists of `length`."""
        return 2 + self.random + self.bases * length


@dataclass(frozen=True)
class RewardedSlates:
    """Requests with a scored group of lists each.

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
        """SHA-256 of requests, lists and values, in hex."""
        return digest(self.slates.arrays() | {name: getattr(self, name).numpy() for name in _GROUP_ARRAYS})

    def tensors(self, device: torch.device) -> Batch:
        """The slates' tensors and ``groups``, ``values``, ``bases`` and ``edited`` on one device."""
        return self.slates.tensors(device) | {name: getattr(self, name).to(device) for name in _GROUP_ARRAYS}


def score_groups(
    slates: SlateArrays,
    scorer: Scorer,
    *,
    options: GroupOptions,
    seed: int,
    device: torch.device,
) -> RewardedSlates:
    """Make and score a group for every request. The same seed gives the same groups on any device."""
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {name: [] for name in _GROUP_ARRAYS}
    data = slates.tensors(torch.device("cpu"))
    with tqdm(total=len(slates), desc="score groups", unit="request", disable=None) as bar:
        for batch in batches(data, _REQUESTS):
            for name, values in _group(batch, scorer, options, generator, device).items():
                parts[name].append(values)
            bar.update(len(batch["lengths"]))
    return RewardedSlates(slates, **{name: torch.cat(values) for name, values in parts.items()})


def stored_groups(
    path: Path,
    slates: SlateArrays,
    evaluator: ListValueModel,
    worth: Utility,
    *,
    options: GroupOptions,
    seed: int,
    device: torch.device,
) -> RewardedSlates:
    """`score_groups` under an evaluator, read from `path` if they are there already, else written to it.

    Raises `CheckpointError` if the file is damaged, and `ValueError` if it holds groups of other requests, another
    evaluator, worth, options or seed.
    """
    identity = {
        "requests": slates.digest,
        "evaluator": weights_digest(evaluator),
        "worth": repr(worth),
        "options": repr(dataclasses.asdict(options)),
        "seed": str(seed),
    }
    if path.exists():
        payload = load_payload(path, KIND)
        _check_identity(path, payload["identity"], identity)
        return RewardedSlates(slates, **{name: payload[name] for name in _GROUP_ARRAYS})
    evaluator.to(device).eval()
    scored = score_groups(slates, evaluator_scorer(evaluator, worth), options=options, seed=seed, device=device)
    save_payload(path, KIND, {"identity": identity} | {name: getattr(scored, name) for name in _GROUP_ARRAYS})
    return scored


def evaluator_scorer(evaluator: ListValueModel, worth: Utility) -> Scorer:
    """The worth of whole lists under a value model."""

    @torch.inference_mode()
    def score(batch: Batch, lists: Tensor) -> Tensor:
        return worth(list_outcomes(evaluator, batch, lists)[:, :, -1])

    return score


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights, in hex."""
    return digest({name: weights.detach().cpu().numpy() for name, weights in model.state_dict().items()})


def random_lists(valid: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """`count` uniformly random lists of the `valid` [B, N] candidates: int64 [B, count, length], −1 past their end."""
    repeated = valid.repeat_interleave(count, dim=0)
    drawn = best_first(torch.rand(repeated.shape, generator=generator), repeated, length)
    return drawn.view(len(valid), count, length)


def neighbours(lists: Tensor, valid: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One neighbour per position: lists int64 [B, L, L], and the position that each changes, [B, L].

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
    batch: Batch, scorer: Scorer, options: GroupOptions, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    on_device = {name: tensor.to(device) for name, tensor in batch.items()}

    def score(lists: Tensor) -> Tensor:
        return scorer(on_device, lists.to(device)).float().cpu()

    exposed, valid = batch["exposed"], batch["valid"]
    b, length = exposed.shape
    drawn = random_lists(valid, options.random, length, generator)
    groups = torch.cat([exposed[:, None], prior_list(batch, length)[:, None], drawn], dim=1)
    values = score(groups)
    bases = torch.arange(groups.shape[1]).expand(b, -1)
    edited = torch.full(groups.shape[:2], -1)
    for family in range(options.bases):
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
