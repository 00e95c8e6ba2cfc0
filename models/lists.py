"""The list record: one request, what was shown for it, and what came of it; and its Parquet form.

Every dataset adapter writes this and training reads it, so it is also the one format in which users bring data of
their own. One row per request; `write_lists` is atomic and `read_lists` names the row and column of a broken record.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from models.features import Scalar

Split = Literal["train", "valid", "test"]
_METADATA_KEY: Final = b"listwright"
_COLUMNS: Final = (
    "request_id", "user", "context", "candidates", "exposed", "clicks", "purchases", "gmv", "split",
)  # fmt: skip


class ListFileError(ValueError):
    """A list file that cannot be used. The message names file, row (from 0) and column."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that the ranking stage proposed, with that stage's scores."""

    id: str
    scores: Mapping[str, float] = field(default_factory=dict)
    price: float | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ListRecord:
    """One request. `exposed` are indices into `candidates` in the order shown; the labels run along it.

    `clicks` and `purchases` are 0 or 1 per exposed position and `gmv` is currency; `purchases` and `gmv` are None where
    the log does not record them, which is not the same as none having happened.
    """

    request_id: str
    candidates: tuple[Candidate, ...]
    exposed: tuple[int, ...]
    clicks: tuple[int, ...]
    purchases: tuple[int, ...] | None = None
    gmv: tuple[float, ...] | None = None
    user: Mapping[str, Scalar] = field(default_factory=dict)
    context: Mapping[str, Scalar] = field(default_factory=dict)
    split: Split = "train"


def write_lists(path: Path, records: Iterable[ListRecord], metadata: Mapping[str, Any]) -> int:
    """Write records and `metadata` (source, seed, …) to a Parquet file; returns how many.

    Every record is checked first and the file appears under its name only when complete. Raises `ListFileError`.
    """
    rows = []
    for i, record in enumerate(records):
        _check(record, path, i)
        rows.append(_to_row(record))
    if not rows:
        raise ListFileError(f"{path}: there are no lists to write")
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(rows)


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_lists` was given as metadata; empty for a file that someone else wrote."""
    raw = (_open(path).schema_arrow.metadata or {}).get(_METADATA_KEY, b"{}")
    return dict(json.loads(raw))


def read_lists(path: Path, split: Split | None = None) -> Iterator[ListRecord]:
    """The records of a file, in order, of one split if given. Raises `ListFileError` naming row and column."""
    source = _open(path)
    missing = [c for c in _COLUMNS if c not in source.schema_arrow.names and c not in ("purchases", "gmv")]
    if missing:
        raise ListFileError(f"{path}: there is no column {missing[0]!r}")
    index = 0
    for batch in source.iter_batches(batch_size=512):
        for row in batch.to_pylist():
            record = _from_row(row, path, index)
            _check(record, path, index)
            index += 1
            if split is None or record.split == split:
                yield record


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ListFileError(f"{path}: cannot be read as Parquet: {error}") from error


def _to_row(record: ListRecord) -> dict[str, Any]:
    # Parquet has no empty structs, so a mapping without keys is stored as null.
    return {
        "request_id": record.request_id,
        "user": dict(record.user) or None,
        "context": dict(record.context) or None,
        "candidates": [
            {
                "id": c.id,
                "scores": {k: float(v) for k, v in c.scores.items()} or None,
                "price": None if c.price is None else float(c.price),
                "features": dict(c.features) or None,
                "embedding": None if c.embedding is None else [float(x) for x in c.embedding],
            }
            for c in record.candidates
        ],
        "exposed": list(record.exposed),
        "clicks": list(record.clicks),
        "purchases": None if record.purchases is None else list(record.purchases),
        "gmv": None if record.gmv is None else [float(v) for v in record.gmv],
        "split": record.split,
    }


def _from_row(row: Mapping[str, Any], path: Path, index: int) -> ListRecord:
    for column in ("request_id", "candidates", "exposed", "clicks", "split"):
        if row[column] is None:
            raise ListFileError(f"{path}: row {index}, column {column}: is null")
    try:
        candidates = tuple(_candidate(c) for c in row["candidates"])
        purchases, gmv = row.get("purchases"), row.get("gmv")
        return ListRecord(
            request_id=str(row["request_id"]),
            candidates=candidates,
            exposed=tuple(row["exposed"]),
            clicks=tuple(row["clicks"]),
            purchases=None if purchases is None else tuple(purchases),
            gmv=None if gmv is None else tuple(gmv),
            user=_present(row["user"]),
            context=_present(row["context"]),
            split=row["split"],
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ListFileError(f"{path}: row {index}: does not have the list record's shape ({error!r})") from error


def _candidate(row: Mapping[str, Any]) -> Candidate:
    embedding = row.get("embedding")
    return Candidate(
        id=str(row["id"]),
        scores=_present(row.get("scores")),
        price=row.get("price"),
        features=_present(row.get("features")),
        embedding=None if embedding is None else tuple(embedding),
    )


def _present(struct: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if struct is None else {k: v for k, v in struct.items() if v is not None}


def _check(record: ListRecord, path: Path, row: int) -> None:
    for column, problem in _problems(record):
        raise ListFileError(f"{path}: row {row}, column {column}: {problem}")


def _problems(record: ListRecord) -> Iterator[tuple[str, str]]:
    if record.split not in get_args(Split):
        yield "split", f"must be one of {', '.join(get_args(Split))}, not {record.split!r}"
    if not record.candidates:
        yield "candidates", "is empty"
    if len({c.id for c in record.candidates}) != len(record.candidates):
        yield "candidates.id", "has the same id twice"
    for i, candidate in enumerate(record.candidates):
        yield from ((f"candidates[{i}].{c}", p) for c, p in _candidate_problems(candidate))
    if len({len(c.embedding) for c in record.candidates if c.embedding is not None}) > 1:
        yield "candidates.embedding", "has different lengths"
    n = len(record.candidates)
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < n for i in record.exposed):
        yield "exposed", f"must hold indices between 0 and {n - 1}"
    if len(set(record.exposed)) != len(record.exposed):
        yield "exposed", "shows a candidate twice"
    for column in ("clicks", "purchases", "gmv"):
        labels = getattr(record, column)
        if labels is None:
            continue
        if len(labels) != len(record.exposed):
            yield column, f"has {len(labels)} values for {len(record.exposed)} exposed positions"
        if column != "gmv" and any(v not in (0, 1) for v in labels):
            yield column, "must hold 0 or 1"
        if any(v is None or not math.isfinite(v) or v < 0 for v in labels):
            yield column, "must hold finite numbers of at least 0"


def _candidate_problems(candidate: Candidate) -> Iterator[tuple[str, str]]:
    for name, value in candidate.scores.items():
        if not math.isfinite(value):
            yield f"scores.{name}", f"is {value}, not a finite number"
    if candidate.price is not None and not (math.isfinite(candidate.price) and candidate.price >= 0):
        yield "price", f"is {candidate.price}, not a finite number of at least 0"
    for name, feature in candidate.features.items():
        if isinstance(feature, float) and not math.isfinite(feature):
            yield f"features.{name}", f"is {feature}, not a finite number"
    if candidate.embedding is not None and not all(math.isfinite(x) for x in candidate.embedding):
        yield "embedding", "holds a number that is not finite"
