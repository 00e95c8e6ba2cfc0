"""Store mined sequences in a folder of Parquet shards, with a manifest of their origin.

A shard appears under its name only when it is complete, so every shard that is there is finished. `mine` searches and
writes, `join` joins the rows to their requests.

Axis letters: n requests, S sequences of a request, L positions, N candidates.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.contract.arrays import Bools, Floats32, Ints
from models.contract.spec import OBJECTIVES
from models.files import whole_file, write_json

FORMAT: Final = 1
MANIFEST_FILE: Final = "manifest.json"
_COLUMNS: Final = ("request_id", "sequences", "step_values", "soft_labels", "weights", "objective_weights")
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
class MinedRows:
    """Hold n requests as they are stored, and the number of candidates of each.

    `sequences` int64 [n, S, L], best first and −1 past a request's last one; `step_values` [n, S, L], V̂ after each
    position; `soft` [n, S, L, N], q_t; `weights` [n, S], w_l of eq. 10, whose sum is 1; `objective_weights` [n, 3].
    """

    request_ids: tuple[str, ...]
    candidates: Ints
    sequences: Ints
    step_values: Floats32
    soft: Floats32
    weights: Floats32
    objective_weights: Floats32


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


def write_shard(path: Path, rows: MinedRows, identity: Mapping[str, str]) -> None:
    """Write one shard, whole or not at all."""
    there = rows.sequences[:, :, 0] >= 0
    counts = there.sum(axis=1)
    steps = np.full(len(counts), rows.sequences.shape[2])
    per_sequence = np.repeat(steps, counts)
    columns = {
        "request_id": pa.array(rows.request_ids, pa.string()),
        "sequences": _nested(rows.sequences[there].ravel(), counts, per_sequence),
        "step_values": _nested(rows.step_values[there].ravel(), counts, per_sequence),
        "soft_labels": _nested(
            rows.soft[soft_mask(there, rows.candidates, rows.soft.shape)],
            counts,
            per_sequence,
            np.repeat(rows.candidates, counts * steps),
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


def read_shard(path: Path, identity: Mapping[str, str]) -> pa.Table:
    """Read the table of a shard.

    Raises `MinedError` if it is damaged, lacks a column or was mined another way.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise MinedError(f"{path}: cannot be read as Parquet: {error}") from error
    missing = [name for name in _COLUMNS if name not in table.schema.names]
    if missing:
        raise MinedError(f"{path}: there is no column {missing[0]!r}")
    if (table.schema.metadata or {}).get(_IDENTITY) != _text(identity):
        raise MinedError(f"{path}: is not a shard of the {MANIFEST_FILE} beside it")
    return table


def _text(identity: Mapping[str, str]) -> bytes:
    return json.dumps(dict(identity), sort_keys=True).encode()


def _nested(values: NDArray[Any], *counts: Ints) -> pa.Array:
    """Nest `values` in lists of lists; `counts` are the lengths at each level, outermost first."""
    array = pa.array(values)
    for lengths in reversed(counts):
        array = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()), array)
    return array
