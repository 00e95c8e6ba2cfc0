"""Mine the sequences that a generator learns from (DeGRe, §4.2), to disk.

Every shard depends on the manifest alone, so a run that was killed goes on where it stopped and ends with the same
rows. The searches are in `planners.search`; this module calls them for each request and keeps the result.

Axis letters: R requests of a pass, S sequences of a request, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.contract.arrays import Floats32, Ints
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.batches import Batch, digest
from models.data.list_file import ListFile
from models.data.list_splits import ListSplits
from models.data.slates import SlateArrays
from models.locks import only_one
from models.mining import shards
from models.mining.shards import MinedArrays, MinedError, MinedManifest
from models.nets.checkpoint import Checkpoint, weights_digest
from models.nets.value import ListValueModel
from models.planners.search.beam import beam_search
from models.planners.search.local_search import improve, soft_labels
from models.planners.search.prefix import list_outcomes
from models.planners.worth import CLICKS_ONLY, RequestWorth, Triple, Worth, triple_of

LocalSearch = Literal["none", "best", "all"]
_EXPANSIONS: Final = 16384
"""Expansions of one step of the beam, of all requests of a pass together: bounds the memory that caches take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions:
    """Choose the search and the weights of its sequences.

    `length` is L (None: the evaluator's horizon), `width` B, `local_search` the lists of the beam that are improved,
    `top_k` the pre-truncation (`search.expansions`). `objectives` are α, β, γ; None draws them for every request,
    uniformly among all shares, with `seed`, for conditioned generators. `weight_temperature` is τ_w of eq. 10.
    """

    length: int | None = None
    width: int = 8
    local_search: LocalSearch = "none"
    top_k: int | None = None
    objectives: Triple | None = CLICKS_ONLY
    weight_temperature: float = 0.02
    seed: int = 0
    shard_size: int = 1024

    def __post_init__(self) -> None:
        for name in ("length", "width", "top_k", "shard_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.local_search not in get_args(LocalSearch):
            raise ValueError(
                f"local_search must be one of {', '.join(get_args(LocalSearch))}, not {self.local_search!r}"
            )
        if not 0 < self.weight_temperature < math.inf:
            raise ValueError(f"weight_temperature must be positive, not {self.weight_temperature}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")


def mine(
    checkpoint: Checkpoint,
    slates: SlateArrays,
    folder: Path,
    *,
    options: MiningOptions,
    device: torch.device,
    source: Mapping[str, Any] | None = None,
) -> MinedManifest:
    """Mine sequences for all requests of `slates`, encoded by the evaluator's spec, into `folder`.

    Finished shards of an earlier run are kept. `source` goes into the manifest as it is. Raises `ValueError` naming
    what differs if the folder holds sequences that were mined another way, and naming the request that has fewer
    candidates than a list has positions; `locks.LockedError` if another process is mining into `folder`.
    """
    length = checkpoint.config.list_length if options.length is None else options.length
    if length > checkpoint.config.list_length:
        raise MinedError(f"length: {length} is past the evaluator's horizon {checkpoint.config.list_length}")
    _check_requests(slates, length)
    weights = draw_weights(len(slates), options)
    _check_objectives(slates, weights)
    manifest = _manifest(checkpoint, slates, options, length, source or {})
    miner = _Miner(checkpoint.model.to(device).eval(), options, length, triple_of(checkpoint.units), device)
    with only_one(folder):
        _open(folder, manifest)
        _fill(folder, manifest, miner, slates, weights)
    return manifest


def _fill(folder: Path, manifest: MinedManifest, miner: _Miner, slates: SlateArrays, weights: Floats32) -> None:
    """Mine the shards that are not there."""
    width = miner.options.width
    requests = [np.array(manifest.rows(shard)) for shard in range(manifest.shards)]
    finished = [_finished(folder, shard, manifest) for shard in range(manifest.shards)]
    known = width * sum(len(rows) for rows, done in zip(requests, finished, strict=True) if done)
    with tqdm(total=width * len(slates), initial=known, desc="mine", unit="seq", unit_scale=True, disable=None) as bar:
        for shard, (rows, done) in enumerate(zip(requests, finished, strict=True)):
            if not done:
                mined = miner.mine(slates.take(rows), weights[rows], bar)
                shards.write_shard(shards.shard_path(folder, shard), mined, manifest.identity)


def draw_weights(count: int, options: MiningOptions) -> Floats32:
    """Give or draw the objective weights of each request, float32 [count, 3], from Dirichlet(1, 1, 1)."""
    if options.objectives is not None:
        return np.tile(np.array(options.objectives, np.float32), (count, 1))
    drawn = np.random.default_rng([options.seed, 1]).dirichlet(np.ones(len(OBJECTIVES)), size=count)
    return drawn.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Miner:
    """Search with an evaluator as the options say."""

    model: ListValueModel
    options: MiningOptions
    length: int
    units: Triple
    device: torch.device

    def mine(self, slates: SlateArrays, weights: Floats32, bar: tqdm[Any]) -> MinedArrays:
        """Mine the rows of one shard."""
        parts = []
        for rows in self._passes(slates):
            found = self._search(slates.take(rows), weights[rows])
            parts.append([x.float().cpu().numpy() if x.is_floating_point() else x.cpu().numpy() for x in found])
            bar.update(len(rows) * self.options.width)
        sequences, step_values, soft, shares = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return MinedArrays(slates, sequences, soft, step_values, shares, weights)

    def _passes(self, slates: SlateArrays) -> Iterator[Ints]:
        size = max(1, _EXPANSIONS // (self.options.width * slates.candidates))
        everything = np.arange(len(slates))
        return (everything[start : start + size] for start in range(0, len(slates), size))

    def _search(self, slates: SlateArrays, weights: Floats32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Search sequences [R, S, L], with their step values, soft labels [R, S, L, N] and weights [R, S]."""
        options, batch = self.options, slates.tensors(self.device)
        worth: Worth | RequestWorth
        if options.objectives is None:
            worth = RequestWorth(torch.from_numpy(weights).to(self.device), self.units)
        else:
            worth = Worth(options.objectives, self.units)
        beams = beam_search(self.model, batch, worth, self.length, options.width, options.top_k)
        found = (beams.lists, beams.step_values, beams.soft_labels)
        if options.local_search != "none":
            found = self._improved(batch, worth, found)
        sequences, step_values, soft = _best_first(*found)
        there = sequences[:, :, 0] >= 0
        shares = shards.sequence_weights(step_values[:, :, -1], there, options.weight_temperature)
        return sequences, step_values, soft, shares

    def _improved(
        self, batch: Batch, worth: Worth | RequestWorth, found: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Replace the lists that are searched from by the ends of their searches."""
        searched = 1 if self.options.local_search == "best" else found[0].shape[1]
        top_k = self.options.top_k
        lists = improve(self.model, batch, worth, found[0][:, :searched], top_k=top_k)
        values = worth(list_outcomes(self.model, batch, lists)).masked_fill(lists < 0, 0)
        labels = soft_labels(self.model, batch, worth, lists, top_k=top_k)
        new = (lists, values, labels)
        sequences, step_values, soft = (torch.cat([a, b[:, searched:]], dim=1) for a, b in zip(new, found, strict=True))
        return sequences, step_values, soft


def _best_first(sequences: Tensor, step_values: Tensor, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort sequences by final value, and blank repeated ones."""
    same = (sequences[:, :, None] == sequences[:, None]).all(dim=-1)
    repeated = same.tril(diagonal=-1).any(dim=-1)
    gone = repeated | (sequences[:, :, 0] < 0)
    value = step_values[:, :, -1].masked_fill(gone, -torch.inf)
    order = torch.sort(value, dim=1, descending=True, stable=True).indices
    rows = torch.arange(len(order), device=order.device)[:, None]
    gone = gone[rows, order][..., None]
    return (
        sequences[rows, order].masked_fill(gone, -1),
        step_values[rows, order].masked_fill(gone, 0),
        soft[rows, order].masked_fill(gone[..., None], 0),
    )


def _check_requests(slates: SlateArrays, length: int) -> None:
    counts = slates.features["valid"].sum(axis=1)
    short = np.flatnonzero(counts < length)
    if len(short):
        name = slates.request_ids[short[0]]
        raise MinedError(f"list {name!r}: has {counts[short[0]]} candidates, fewer than the {length} positions to fill")


def _check_objectives(slates: SlateArrays, weights: Floats32) -> None:
    for o, name in enumerate(OBJECTIVES):
        if weights[:, o].any() and not slates.observed[:, o].any():
            raise MinedError(f"objectives: {name} has a weight, but no list records it, so no evaluator can know it")


def _manifest(
    checkpoint: Checkpoint, slates: SlateArrays, options: MiningOptions, length: int, source: Mapping[str, Any]
) -> MinedManifest:
    chosen = {**dataclasses.asdict(options), "length": length}
    if options.objectives is None:
        chosen["objectives"] = "sampled"
    ids = hashlib.sha256("\n".join(slates.request_ids).encode()).hexdigest()
    identity = {
        "fingerprint": checkpoint.spec.fingerprint,
        "evaluator": weights_digest(checkpoint.model),
        "units": str(dict(checkpoint.units)),
        "requests": f"{ids} {digest(slates.features)}",
        **{name: str(value) for name, value in chosen.items()},
    }
    return MinedManifest(checkpoint.spec.fingerprint, length, len(slates), options.shard_size, identity, dict(source))


def _open(folder: Path, manifest: MinedManifest) -> None:
    """Start a folder, or check its manifest and clear the rest of an interrupted run."""
    before = shards.read_manifest(folder)
    if before is None:
        if shards.shard_path(folder, 0).exists():
            raise MinedError(f"{folder}: holds shards without a manifest; choose another folder")
        shards.write_manifest(folder, manifest)
        return
    for key in sorted(before.identity.keys() | manifest.identity.keys()):
        then, now = before.identity.get(key), manifest.identity.get(key)
        if then != now:
            raise MinedError(f"{folder}: cannot be gone on with: {key} was {then}, not {now}")
    for partial in folder.glob(".shard-*.partial"):
        partial.unlink()


def _finished(folder: Path, shard: int, manifest: MinedManifest) -> bool:
    path = shards.shard_path(folder, shard)
    return path.exists() and len(shards.read_shard(path, manifest.identity)) == len(manifest.rows(shard))


def chosen_lists(data: str | Path, slates: int | None, valid_slates: int, seed: int) -> ListSplits:
    """Draw training and validation requests; more extend fewer.

    Raises `ValueError` if there are none for training.
    """
    splits = ListSplits.read(ListFile(data))
    if not splits.counts["train"]:
        raise ValueError(f"{data}: has no lists of split 'train'")
    return splits.draw({"train": splits.counts["train"] if slates is None else slates, "valid": valid_slates}, seed)


def check_fields(spec: FeatureSpec, lists: ListSplits) -> None:
    """Raise `ValueError` naming a field of the evaluator that no list has."""
    for group, names in lists.fields().items():
        for field in getattr(spec, group):
            if field.name not in names:
                raise ValueError(
                    f"the evaluator reads {group}.{field.name}, which no list has; was it trained on others?"
                )
