"""Mine the sequences that a generator learns from (DeGRe, §4.2), to disk.

Every shard depends on the manifest alone, so a run that was killed goes on where it stopped and ends with the same
rows. `miner` searches; this module says which shards there are, and keeps the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from models.contract.arrays import Floats32, Ints
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.batches import digest
from models.data.list_file import ListFile
from models.data.list_splits import ListSplits
from models.data.slates import SlateArrays
from models.locks import only_one
from models.mining import shards
from models.mining.miner import Miner, MiningOptions
from models.mining.shards import MinedError, MinedManifest
from models.nets.checkpoint import Checkpoint, weights_digest
from models.planners.worth import triple_of


@dataclass(frozen=True, eq=False)
class MiningRun:
    """Hold all that mines the shards of a folder, and the numbers of those `missing`."""

    folder: Path
    manifest: MinedManifest
    options: MiningOptions
    slates: SlateArrays
    weights: Floats32
    missing: tuple[int, ...]

    def requests(self, shard: int) -> tuple[SlateArrays, Floats32]:
        """Return the requests of a shard with their objective weights."""
        rows = np.array(self.manifest.rows(shard))
        return self.slates.take(rows), self.weights[rows]

    def bar(self) -> tqdm[Any]:
        """Show the progress of the run, in sequences."""
        width, left = self.options.width, sum(len(self.manifest.rows(shard)) for shard in self.missing)
        total = self.manifest.requests
        known = width * (total - left)
        return tqdm(total=width * total, initial=known, desc="mine", unit="seq", unit_scale=True, disable=None)


Fill = Callable[[MiningRun], None]
"""Mine the missing shards of a run and write them, each under its name once it is complete."""


def mine(
    checkpoint: Checkpoint,
    slates: SlateArrays,
    folder: Path,
    *,
    options: MiningOptions,
    device: torch.device,
    source: Mapping[str, Any] | None = None,
    fill: Fill | None = None,
) -> MinedManifest:
    """Mine sequences for all requests of `slates`, encoded by the evaluator's spec, into `folder`.

    Finished shards of an earlier run are kept. `source` goes into the manifest as it is. `fill` mines elsewhere than in
    this process on `device`. Raises `ValueError` naming what differs if the folder holds sequences that were mined
    another way, and naming the request that has fewer candidates than a list has positions; `locks.LockedError` if
    another process is mining into `folder`.
    """
    length = mined_length(checkpoint, options)
    _check_requests(slates, length)
    weights = draw_weights(len(slates), options)
    _check_objectives(slates, weights)
    manifest = _manifest(checkpoint, slates, options, length, source or {})
    with only_one(folder):
        _open(folder, manifest)
        missing = tuple(shard for shard in range(manifest.shards) if not finished(folder, shard, manifest))
        run = MiningRun(folder, manifest, options, slates, weights, missing)
        if fill is not None:
            fill(run)
        else:
            _fill_here(run, miner_of(checkpoint, options, length, device))
    return manifest


def mined_length(checkpoint: Checkpoint, options: MiningOptions) -> int:
    """Return the positions to fill. Raises `MinedError` past the evaluator's horizon."""
    horizon = checkpoint.config.list_length
    length = horizon if options.length is None else options.length
    if length > horizon:
        raise MinedError(f"length: {length} is past the evaluator's horizon {horizon}")
    return length


def long_enough(slates: SlateArrays, length: int, folder: Path) -> SlateArrays:
    """Select the requests with candidates for `length` positions; large arrays lie in `folder`.

    Raises `MinedError` if there are none.
    """
    rows = np.flatnonzero(_candidates(slates) >= length)
    if len(rows) == len(slates):
        return slates
    if not len(rows):
        raise MinedError(f"all {len(slates):,} lists have fewer candidates than --length {length}")
    return slates.part(rows, folder)


def miner_of(checkpoint: Checkpoint, options: MiningOptions, length: int, device: torch.device) -> Miner:
    """Move an evaluator to a device, to search sequences of `length` under it."""
    return Miner(checkpoint.model.to(device).eval(), options, length, triple_of(checkpoint.units), device)


def _fill_here(run: MiningRun, miner: Miner) -> None:
    """Mine the missing shards in this process, one after another."""
    with run.bar() as bar:
        for shard in run.missing:
            mined = miner.mine(*run.requests(shard), bar.update)
            shards.write_shard(shards.shard_path(run.folder, shard), mined, run.manifest.identity)


def draw_weights(count: int, options: MiningOptions) -> Floats32:
    """Give or draw the objective weights of each request, float32 [count, 3], from Dirichlet(1, 1, 1)."""
    if options.objectives is not None:
        return np.tile(np.array(options.objectives, np.float32), (count, 1))
    drawn = np.random.default_rng([options.seed, 1]).dirichlet(np.ones(len(OBJECTIVES)), size=count)
    return drawn.astype(np.float32)


def _check_requests(slates: SlateArrays, length: int) -> None:
    counts = _candidates(slates)
    short = np.flatnonzero(counts < length)
    if len(short):
        name = slates.request_ids[short[0]]
        raise MinedError(f"list {name!r}: has {counts[short[0]]} candidates, fewer than the {length} positions to fill")


def _candidates(slates: SlateArrays) -> Ints:
    """Count the candidates of each request, [n]."""
    counts: Ints = slates.features["valid"].sum(axis=1)
    return counts


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


def finished(folder: Path, shard: int, manifest: MinedManifest) -> bool:
    """Tell whether a shard is there and whole.

    Raises `MinedError` if it is damaged or was mined another way.
    """
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
