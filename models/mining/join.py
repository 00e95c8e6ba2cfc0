"""Join mined sequences to their requests, for the distillation of a generator.

The shards that `mine` wrote are checked against the list file.

Axis letters: n requests, S sequences of a request (padded to the most), L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from models.contract.arrays import Arrays, Bools, Floats32, Ints
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.array_store import ArrayStore
from models.data.list_file import ListFile
from models.data.list_splits import ListSplits
from models.data.records import Split
from models.data.slates import SlateArrays
from models.mining import shards
from models.mining.shards import ID_COLUMN, MANIFEST_FILE, MinedArrays, MinedError, MinedManifest

K = TypeVar("K")


def read_mined(
    folder: Path, data: str | Path, spec: FeatureSpec, splits: Sequence[Split], work: Path
) -> dict[Split, MinedArrays]:
    """Read the mined requests of some splits of a list file, encoded by `spec`.

    Large arrays lie in `work` while they are used. Raises `ValueError` as `join_mined` does, and if nothing was mined
    for a split.
    """
    manifest = finished_manifest(folder)
    check_fingerprint(folder, manifest, spec.fingerprint)
    ids = mined_ids(folder, manifest)
    lists = ListSplits(ListFile(data), {}).named(set(ids))
    if sum(lists.counts.values()) < len(ids):
        raise _missing(folder, _first_missing(ids, lists.file))
    for split in splits:
        if not lists.counts.get(split):
            raise MinedError(f"{folder}: has no sequences for lists of split {split!r}")
    slates = {split: lists.of(split).slates(spec, manifest.length, work) for split in splits}
    return _joined(folder, manifest, slates, set(ids), work)


def join_mined(folder: Path, slates: SlateArrays, fingerprint: str) -> MinedArrays:
    """Join the mined requests of `folder`, in its order, with their rows of `slates`.

    `fingerprint` is that of the spec which encoded `slates`. Raises `ValueError` naming the file if mining is not
    complete, a shard is damaged or lacks a column, an evaluator of another fingerprint mined, `slates` lacks a request,
    or a row does not fit its request: lengths, candidates that do not exist or repeat, labels that are no distribution.
    """
    manifest = finished_manifest(folder)
    check_fingerprint(folder, manifest, fingerprint)
    known = set(slates.request_ids)
    ids = mined_ids(folder, manifest)
    for request_id in ids:
        if request_id not in known:
            raise _missing(folder, request_id)
    return _joined(folder, manifest, {None: slates}, set(ids), folder)[None]


def check_fingerprint(folder: Path, manifest: MinedManifest, fingerprint: str) -> None:
    """Check that an evaluator of this feature spec mined. Raises `MinedError`."""
    if manifest.fingerprint != fingerprint:
        raise MinedError(
            f"{folder}: was mined by an evaluator with feature spec {manifest.fingerprint!r}, not {fingerprint!r}"
        )


def finished_manifest(folder: Path) -> MinedManifest:
    """Read the manifest of a folder whose shards are all there; else raise `MinedError`."""
    manifest = shards.read_manifest(folder)
    if manifest is None:
        raise MinedError(f"{folder}: holds no mined sequences: there is no {MANIFEST_FILE}")
    absent = [shard for shard in range(manifest.shards) if not shards.shard_path(folder, shard).exists()]
    if absent:
        raise MinedError(f"{folder}: mining is not complete, {len(absent)} of {manifest.shards} shards are missing")
    return manifest


def mined_ids(folder: Path, manifest: MinedManifest) -> list[str]:
    """Read the request ids of all shards, in order; no other column is read.

    Raises `MinedError` for one that stands twice.
    """
    ids: list[str] = []
    for shard in range(manifest.shards):
        path = shards.shard_path(folder, shard)
        ids += shards.read_shard(path, manifest.identity, [ID_COLUMN])[ID_COLUMN].to_pylist()
    if len(set(ids)) != len(ids):
        raise MinedError(f"{folder}: holds a request twice")
    return ids


@dataclass
class _Part:
    """Gather the mined rows of those requests that `slates` holds."""

    slates: SlateArrays
    store: ArrayStore
    places: Mapping[str, int]
    order: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, slates: SlateArrays, mined: Collection[str], work: Path) -> _Part:
        """Make room for the requests that were mined."""
        places = {request_id: row for row, request_id in enumerate(slates.request_ids) if request_id in mined}
        return cls(slates, ArrayStore(len(places), work, blanks={"sequences": -1}), places)

    def add(self, path: Path, table: pa.Table, length: int) -> None:
        """Add the rows of a shard that belong to it."""
        ids = table[ID_COLUMN].to_pylist()
        own = [row for row, request_id in enumerate(ids) if request_id in self.places]
        if own:
            rows = [self.places[ids[row]] for row in own]
            self.store.put(_decode(path, table.take(own), self.slates, np.array(rows), length))
            self.order += rows

    def joined(self, work: Path) -> MinedArrays:
        """Join all rows, in the order of the shards."""
        order = np.array(self.order)
        same = len(order) == len(self.slates) and bool((np.diff(order, prepend=-1) == 1).all())
        mined: dict[str, Any] = self.store.arrays()
        return MinedArrays(self.slates if same else self.slates.part(order, work), **mined)


def _joined(
    folder: Path, manifest: MinedManifest, slates: Mapping[K, SlateArrays], mined: Collection[str], work: Path
) -> dict[K, MinedArrays]:
    """Join shard after shard, each read once, with the requests of every part of `slates`."""
    parts = {key: _Part.of(own, mined, work) for key, own in slates.items()}
    for shard in tqdm(range(manifest.shards), desc="join", unit="shard", disable=None):
        path = shards.shard_path(folder, shard)
        table = shards.read_shard(path, manifest.identity)
        for part in parts.values():
            part.add(path, table, manifest.length)
    return {key: part.joined(work) for key, part in parts.items()}


def _decode(path: Path, table: pa.Table, slates: SlateArrays, rows: Ints, length: int) -> Arrays:
    """Decode and check arrays of `MinedArrays`: a shard's, which stand at `rows` of `slates`."""
    candidates = slates.features["valid"][rows].sum(axis=1)
    ids = tuple(table["request_id"].to_pylist())
    # Sequences: at least one per request, each of different candidates.
    counts, lengths, items = _levels(path, table, "sequences", 2)
    owner = np.repeat(np.arange(len(rows)), counts)
    _require(path, ids, "sequences", counts >= 1, "there is none")
    owners = [ids[row] for row in owner.tolist()]
    _require(path, owners, "sequences", lengths == length, f"one has another length than {length}")
    flat = items.astype(np.int64).reshape(-1, length)
    _require(path, owners, "sequences", _are_lists(flat, candidates[owner]), "one names no candidate, or one twice")
    # Everything else is padded to the most sequences of a request, as the sequences are.
    there = np.arange(counts.max()) < counts[:, None]
    sequences = np.full((*there.shape, length), -1, np.int64)
    sequences[there] = flat
    step_values = np.zeros(sequences.shape, np.float32)
    step_values[there] = _like(path, table, "step_values", counts, lengths).reshape(-1, length)
    weights = np.zeros(there.shape, np.float32)
    weights[there] = _like(path, table, "weights", counts)
    soft = np.zeros((*sequences.shape, slates.candidates), np.float32)
    labels = _like(path, table, "soft_labels", counts, lengths, np.repeat(candidates, counts * length))
    soft[shards.soft_mask(there, candidates, soft.shape)] = labels
    # Weights sum to 1 over sequences, soft labels over candidates.
    shared = (np.abs(weights.sum(axis=1) - 1) < 1e-3) & (weights.min(axis=1) >= 0)
    _require(path, ids, "weights", shared, "are no distribution")
    sums = soft.sum(axis=-1)[there].reshape(-1, length)
    fair = (np.abs(sums - 1) < 1e-3).all(axis=1) & (soft.min(axis=(2, 3))[there] >= 0)
    _require(path, owners, "soft_labels", fair, "are no distribution")
    mixes = _like(path, table, "objective_weights", np.full(len(rows), len(OBJECTIVES))).reshape(-1, len(OBJECTIVES))
    return {
        "sequences": sequences,
        "soft": soft,
        "step_values": step_values,
        "weights": weights,
        "objective_weights": mixes,
    }


def _are_lists(sequences: Ints, candidates: Ints) -> Bools:
    """Tell whether each row [M, L] holds different numbers, from 0 and below its `candidates` [M]."""
    ordered = np.sort(sequences, axis=1)
    sound = (np.diff(ordered, axis=1) > 0).all(axis=1) & (ordered[:, 0] >= 0) & (ordered[:, -1] < candidates)
    return np.asarray(sound)


def _levels(path: Path, table: pa.Table, column: str, depth: int) -> list[NDArray[Any]]:
    """Return the lengths at each level of a nested column, outermost first, then its values."""
    array = table[column].combine_chunks()
    found = []
    for _ in range(depth):
        if not pa.types.is_list(array.type) or array.null_count:
            raise MinedError(f"{path}: column {column}: does not hold lists nested {depth} deep")
        found.append(array.value_lengths().to_numpy(zero_copy_only=False))
        array = array.flatten()
    if array.null_count or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise MinedError(f"{path}: column {column}: does not hold numbers")
    values = array.to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        raise MinedError(f"{path}: column {column}: holds a number that is not finite")
    return [*found, values]


def _like(path: Path, table: pa.Table, column: str, *expected: Ints) -> Floats32:
    """Return the values of a column whose lengths at each level are `expected`."""
    *found, values = _levels(path, table, column, len(expected))
    for lengths, wanted in zip(found, expected, strict=True):
        if not np.array_equal(lengths, wanted):
            raise MinedError(f"{path}: column {column}: its lengths do not fit the sequences and their candidates")
    return values.astype(np.float32)


def _require(path: Path, ids: Sequence[str], column: str, good: Bools, problem: str) -> None:
    if not good.all():
        raise MinedError(f"{path}: list {ids[int(np.argmin(good))]!r}, column {column}: {problem}")


def _padded(rows: NDArray[Any], sequences: int, value: float) -> NDArray[Any]:
    widths = [(0, 0), (0, sequences - rows.shape[1]), *[(0, 0)] * (rows.ndim - 2)]
    return np.pad(rows, widths, constant_values=value)


def _missing(folder: Path, request_id: str) -> MinedError:
    return MinedError(f"{folder}: holds list {request_id!r}, which the list file lacks")


def _first_missing(ids: Sequence[str], file: ListFile) -> str:
    """Find the first of `ids` that a list file lacks."""
    known = {i for window in file.windows(embeddings=False) for i in window.request_ids.to_pylist()}
    return next(i for i in ids if i not in known)
