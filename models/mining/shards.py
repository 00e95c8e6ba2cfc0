"""Store mined sequences in a folder of Parquet shards, with a manifest of their origin.

A shard appears under its name only when it is complete, so every shard that is there is finished. `mine` searches and
writes, `join` joins the rows to their requests.

Axis letters: n requests, S sequences of a request, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contract.arrays import Arrays, Bools, Floats32, Ints
from models.contract.spec import OBJECTIVES
from models.data.batches import Batch, digest, tensors
from models.data.slates import SlateArrays
from models.files import whole_file, write_json

FORMAT: Final = 1
MANIFEST_FILE: Final = "manifest.json"
ID_COLUMN: Final = "request_id"
COLUMNS: Final = (ID_COLUMN, "sequences", "step_values", "soft_labels", "weights", "objective_weights")
_IDENTITY: Final = b"mined by"


class MinedError(ValueError):
    """Report mined sequences that cannot be used; the message names the file and the problem."""


@dataclass(frozen=True)
class MinedManifest:
    """Describe the origin of shards: `identity` decides their rows, `source` only informs.

    `length` is L, `requests` how many there are in all and `shard_size` how many a shard holds.
    """

    fingerprint: str
    length: int
    requests: int
    shard_size: int
    identity: Mapping[str, str]
    source: Mapping[str, Any]

    @property
    def shards(self) -> int:
        """Count the shards of a finished folder."""
        return -(-self.requests // self.shard_size)

    def rows(self, shard: int) -> range:
        """Return the requests of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.requests))


@dataclass(frozen=True)
class MinedArrays:
    """Hold n requests, their candidates and their mined sequences, row by row.

    `sequences` int64 [n, S, L], best first, −1 throughout past a request's last one; `soft` [n, S, L, N], q_t of eq. 9;
    `step_values` [n, S, L], V̂ after each position; `weights` [n, S], w_l of eq. 10, whose sum is 1;
    `objective_weights` [n, 3], the α, β, γ that the request was mined under.
    """

    slates: SlateArrays
    sequences: Ints
    soft: Floats32
    step_values: Floats32
    weights: Floats32
    objective_weights: Floats32

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def values(self) -> Floats32:
        """Return V̂ of whole sequences, [n, S]; 0 where there is none."""
        return self.step_values[:, :, -1]

    @property
    def there(self) -> Bools:
        """Tell sequences from padding, bool [n, S]."""
        return self.sequences[:, :, 0] >= 0

    @property
    def digest(self) -> str:
        """Hash all arrays, SHA-256 in hex: equal if two runs learnt from the same sequences."""
        return digest(self.arrays())

    def arrays(self) -> Arrays:
        """Return the features, the mined arrays and ``lengths`` int64 [n], the positions of every sequence (L)."""
        mined = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "slates"}
        lengths = np.full(len(self), self.sequences.shape[2])
        return {**self.slates.features, **mined, "lengths": lengths}

    def tensors(self, device: torch.device) -> Batch:
        """Copy all of `arrays` to one device, as `batches.tensors` does."""
        return tensors(self.arrays(), device)

    def take(self, rows: Ints) -> MinedArrays:
        """Take the requests at `rows`, in that order."""
        mined = {f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name != "slates"}
        return MinedArrays(self.slates.take(rows), **mined)

    def weighted(self, temperature: float) -> MinedArrays:
        """Replace the weights by those of another τ_w. Raises `ValueError` if it is not positive."""
        if not temperature > 0:
            raise ValueError(f"weight temperature must be positive, not {temperature}")
        values, there = torch.from_numpy(self.values.astype(np.float64)), torch.from_numpy(self.there)
        return dataclasses.replace(self, weights=sequence_weights(values, there, temperature).float().numpy())


def sequence_weights(values: Tensor, there: Tensor, temperature: float) -> Tensor:
    """Compute w_l of eq. 10, [..., S], from V̂ [..., S] of the sequences that are `there`."""
    weights: Tensor = torch.softmax((values / temperature).masked_fill(~there, -torch.inf), dim=-1)
    return weights


def shard_path(folder: Path, shard: int) -> Path:
    """Return the path of a shard."""
    return folder / f"shard-{shard:05}.parquet"


def write_manifest(folder: Path, manifest: MinedManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_json(folder / MANIFEST_FILE, {"format": FORMAT, **dataclasses.asdict(manifest)})


def read_manifest(folder: Path) -> MinedManifest | None:
    """Read the manifest of a folder, None without one; an unusable one raises `MinedError`."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text("utf-8"))
        if fields.pop("format") != FORMAT:
            raise MinedError(f"{path}: has another format; this version reads {FORMAT}")
        return MinedManifest(**fields)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise MinedError(f"{path}: is no manifest of mined sequences: {error!r}") from error


def write_shard(path: Path, rows: MinedArrays, identity: Mapping[str, str]) -> None:
    """Write one shard, whole or not at all."""
    there, candidates = rows.there, rows.slates.features["valid"].sum(axis=1)
    counts = there.sum(axis=1)
    steps = np.full(len(counts), rows.sequences.shape[2])
    per_sequence = np.repeat(steps, counts)
    columns = {
        "request_id": pa.array(rows.slates.request_ids, pa.string()),
        "sequences": _nested(rows.sequences[there].ravel(), counts, per_sequence),
        "step_values": _nested(rows.step_values[there].ravel(), counts, per_sequence),
        "soft_labels": _nested(
            rows.soft[soft_mask(there, candidates, rows.soft.shape)],
            counts,
            per_sequence,
            np.repeat(candidates, counts * steps),
        ),
        "weights": _nested(rows.weights[there], counts),
        "objective_weights": _nested(rows.objective_weights.ravel(), np.full(len(counts), len(OBJECTIVES))),
    }
    table = pa.table(columns).replace_schema_metadata({_IDENTITY: _text(identity)})
    with whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def soft_mask(there: Bools, candidates: Ints, shape: tuple[int, ...]) -> Bools:
    """Tell the stored entries of soft labels [n, S, L, N] from padding."""
    real = np.arange(shape[3]) < candidates[:, None]
    return np.broadcast_to(there[:, :, None, None] & real[:, None, None, :], shape)


def read_shard(path: Path, identity: Mapping[str, str], columns: Sequence[str] = COLUMNS) -> pa.Table:
    """Read columns of a shard.

    Raises `MinedError` if it is damaged, lacks any column or was mined another way.
    """
    try:
        schema = pq.read_schema(path)
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise MinedError(f"{path}: there is no column {missing[0]!r}")
        if (schema.metadata or {}).get(_IDENTITY) != _text(identity):
            raise MinedError(f"{path}: is not a shard of the {MANIFEST_FILE} beside it")
        return pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise MinedError(f"{path}: cannot be read as Parquet: {error}") from error


def _text(identity: Mapping[str, str]) -> bytes:
    return json.dumps(dict(identity), sort_keys=True).encode()


def _nested(values: NDArray[Any], *counts: Ints) -> pa.Array:
    """Nest `values` in lists of lists; `counts` are the lengths at each level, outermost first."""
    array = pa.array(values)
    for lengths in reversed(counts):
        array = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()), array)
    return array
