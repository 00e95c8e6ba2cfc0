"""Join mined sequences to their requests, for the distillation of a generator.

The shards that `mine` wrote are checked against the list file.

Axis letters: n requests, S sequences of a request (padded to the most), L positions, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.contract.arrays import Arrays, Bools, Floats32, Ints
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.array_store import ArrayStore
from models.data.list_file import ListFile
from models.data.records import Split
from models.data.slates import SlateArrays
from models.data.window_arrays import WindowEncoder
from models.mining import shards
from models.mining.shards import MANIFEST_FILE, MinedArrays, MinedError, MinedManifest


def read_mined(
    folder: Path, lists: ListFile, spec: FeatureSpec, splits: Sequence[Split | None] = (None,)
) -> list[MinedArrays]:
    """Read the mined requests of each split (None: of any), encoded by `spec`.

    `lists` and the shards are read once. Raises `ValueError` as `join_mined` does, and if a split has no sequences.
    """
    manifest = finished_manifest(folder)
    parts = _mined_slates(folder, lists, WindowEncoder(spec, manifest.length), mined_ids(folder, manifest), splits)
    return _joined(folder, manifest, parts, spec.fingerprint, partly=True)


def join_mined(folder: Path, slates: SlateArrays, fingerprint: str) -> MinedArrays:
    """Join the mined requests of `folder`, in its order, with their rows of `slates`.

    `fingerprint` is that of the spec which encoded `slates`. Raises `ValueError` naming the file if mining is not
    complete, a shard is damaged or lacks a column, an evaluator of another fingerprint mined, `slates` lacks a request,
    or a row does not fit its request: lengths, candidates that do not exist or repeat, labels that are no distribution.
    """
    (mined,) = _joined(folder, finished_manifest(folder), [slates], fingerprint, partly=False)
    return mined


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
    """Read the request ids of all shards, in order.

    Raises `MinedError` for one that stands twice.
    """
    ids: list[str] = []
    for shard in range(manifest.shards):
        path = shards.shard_path(folder, shard)
        ids += shards.read_shard(path, manifest.identity, ["request_id"])["request_id"].to_pylist()
    if len(set(ids)) != len(ids):
        raise MinedError(f"{folder}: holds a request twice")
    return ids


def _mined_slates(
    folder: Path, lists: ListFile, encoder: WindowEncoder, ids: Sequence[str], splits: Sequence[Split | None]
) -> list[SlateArrays]:
    """Encode the lists that have these ids, of each split.

    Raises `MinedError` for an id or split without a list.
    """
    chunks: list[list[SlateArrays]] = [[] for _ in splits]
    wanted, found = pa.array(ids, pa.string()), set[str]()
    for window in lists.windows():
        mined = window.take(_rows(pc.is_in(window.request_ids.cast(pa.string()), value_set=wanted)))
        found.update(mined.request_ids.to_pylist())
        for own, split in zip(chunks, splits, strict=True):
            part = mined if split is None else mined.take(_rows(pc.equal(mined.splits, split)))
            own += [encoder.slates(part)] if len(part) else []
    if len(found) < len(ids):
        raise _missing(folder, next(i for i in ids if i not in found))
    for own, split in zip(chunks, splits, strict=True):
        if not own:
            raise MinedError(f"{folder}: has no sequences for lists of split {split!r}")
    return [_one(own, folder) for own in chunks]


def _rows(chosen: pa.Array) -> Ints:
    return np.flatnonzero(chosen.to_numpy(zero_copy_only=False))


def _one(chunks: Sequence[SlateArrays], folder: Path) -> SlateArrays:
    """Join requests that were encoded in chunks."""
    store = ArrayStore(sum(map(len, chunks)), folder)
    for chunk in chunks:
        store.put(chunk.arrays())
    return SlateArrays.of(store.arrays(), [i for chunk in chunks for i in chunk.request_ids])


def _joined(
    folder: Path, manifest: MinedManifest, parts: Sequence[SlateArrays], fingerprint: str, *, partly: bool
) -> list[MinedArrays]:
    """Join the shards with each part; `partly` leaves out requests that it lacks."""
    if manifest.fingerprint != fingerprint:
        raise MinedError(
            f"{folder}: was mined by an evaluator with feature spec {manifest.fingerprint!r}, not {fingerprint!r}"
        )
    joins = [_Join(slates, manifest.length) for slates in parts]
    for shard in range(manifest.shards):
        path = shards.shard_path(folder, shard)
        table = shards.read_shard(path, manifest.identity)
        for join in joins:
            unknown = join.add(path, table)
            if unknown and not partly:
                raise _missing(folder, unknown[0])
    return [join.mined() for join in joins]


class _Join:
    """Join shards with requests, one shard after another."""

    def __init__(self, slates: SlateArrays, length: int) -> None:
        self._slates = slates
        self._length = length
        self._rows = {request_id: row for row, request_id in enumerate(slates.request_ids)}
        self._order: list[int] = []
        self._chunks: list[Arrays] = []

    def add(self, path: Path, table: pa.Table) -> list[str]:
        """Take the sequences of the known requests; return the ids of the others."""
        ids = table["request_id"].to_pylist()
        known = [row for row, i in enumerate(ids) if i in self._rows]
        rows = [self._rows[ids[row]] for row in known]
        self._order += rows
        if known:
            self._chunks.append(_decode(path, table.take(known), self._slates, np.array(rows), self._length))
        return [i for i in ids if i not in self._rows]

    def mined(self) -> MinedArrays:
        """Join what was taken, padded to the most sequences of a request."""
        chunks = self._chunks
        most = max(chunk["sequences"].shape[1] for chunk in chunks)
        blanks = {"sequences": -1, "soft": 0, "step_values": 0, "weights": 0}
        arrays: Any = {name: np.concatenate([_padded(c[name], most, x) for c in chunks]) for name, x in blanks.items()}
        arrays["objective_weights"] = np.concatenate([chunk["objective_weights"] for chunk in chunks])
        return MinedArrays(self._slates.take(np.array(self._order)), **arrays)


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
