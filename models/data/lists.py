"""Read and write list records: a request, the list shown for it, and its outcomes.

Every dataset adapter writes this Parquet form and training reads it, so it is also the one format in which users bring
data of their own. One row per request; `write_lists` is atomic and `read_lists` names the row and column of a broken
record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from models.contract.features import Scalar
from models.data.arrow_columns import ColumnError, lengths, lists, mapping_array, mappings, members, scalars, texts
from models.files import whole_file

Split = Literal["train", "valid", "test"]
_METADATA_KEY: Final = b"listwright"
_CHUNK: Final = 2048
_COLUMNS: Final = (
    "request_id", "user", "context", "candidates", "exposed", "clicks", "purchases", "gmv", "split",
)  # fmt: skip


class ListFileError(ValueError):
    """Report a list file that cannot be used, by file, row (from 0) and column."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold an item that the ranking stage proposed, with that stage's scores."""

    id: str
    scores: Mapping[str, float] = field(default_factory=dict)
    price: float | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ListRecord:
    """Hold one request, the list shown for it and its outcomes.

    `exposed` are indices into `candidates` in the order shown; the labels run along it. `clicks` and `purchases` are 0
    or 1 per exposed position and `gmv` is currency; `purchases` and `gmv` are None where the log does not record them,
    which is not the same as none having happened.
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
    """Write records and `metadata` (source, seed, …) to Parquet; return the number of records.

    Every record is checked first and the file appears under its name only when complete. A feature that is None is not
    written, as if it were absent. Raises `ListFileError`.
    """
    note = {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    tables, seen = [], set[str]()
    stream = enumerate(records)
    # Only one chunk of records is held as Python objects; tables are much smaller.
    while chunk := list(islice(stream, _CHUNK)):
        for row, record in chunk:
            _check(record, path, row, seen)
        tables.append(_to_table([record for _, record in chunk], path, chunk[0][0]))
    if not tables:
        raise ListFileError(f"{path}: there are no lists to write")
    try:
        table = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(note)
    except pa.ArrowException as error:
        raise ListFileError(f"{path}: a field is text in one list and a number in another: {error}") from error
    with whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=_CHUNK)
    return int(table.num_rows)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata that `write_lists` wrote; empty for files of another origin."""
    raw = (_open(path).schema_arrow.metadata or {}).get(_METADATA_KEY, b"{}")
    return dict(json.loads(raw))


def read_lists(path: Path, split: Split | None = None) -> Iterator[ListRecord]:
    """Read a file's records in order, of one split if given. Raises `ListFileError`."""
    source = _open(path)
    missing = [c for c in _COLUMNS if c not in source.schema_arrow.names and c not in ("purchases", "gmv")]
    if missing:
        raise ListFileError(f"{path}: there is no column {missing[0]!r}")
    columns = [c for c in _COLUMNS if c in source.schema_arrow.names]
    row, seen = 0, set[str]()
    for batch in source.iter_batches(batch_size=512, columns=columns):
        for record in _from_batch(batch, path, row):
            _check(record, path, row, seen)
            row += 1
            if split is None or record.split == split:
                yield record


def read_splits(path: Path) -> dict[Split, Sequence[ListRecord]]:
    """Read the records of a list file by split, including empty splits. Raises `ListFileError`."""
    splits: dict[Split, list[ListRecord]] = {name: [] for name in get_args(Split)}
    for record in tqdm(read_lists(path), desc="read", unit="list", disable=None):
        splits[record.split].append(record)
    return {**splits}


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ListFileError(f"{path}: cannot be read as Parquet: {error}") from error


def _to_table(records: Sequence[ListRecord], path: Path, first_row: int) -> pa.Table:
    items = [c for r in records for c in r.candidates]
    offsets = pa.array(accumulate((len(r.candidates) for r in records), initial=0), pa.int32())
    try:
        candidates = pa.StructArray.from_arrays(
            [
                pa.array([c.id for c in items], pa.string()),
                mapping_array([c.scores for c in items], "candidates.scores", pa.float64()),
                pa.array([c.price for c in items], pa.float64()),
                mapping_array([c.features for c in items], "candidates.features"),
                pa.array([c.embedding for c in items], pa.list_(pa.float64())),
            ],
            ["id", "scores", "price", "features", "embedding"],
        )
        columns = {
            "request_id": pa.array([r.request_id for r in records], pa.string()),
            "user": mapping_array([r.user for r in records], "user"),
            "context": mapping_array([r.context for r in records], "context"),
            "candidates": pa.ListArray.from_arrays(offsets, candidates),
            "exposed": pa.array([r.exposed for r in records], pa.list_(pa.int64())),
            "clicks": pa.array([r.clicks for r in records], pa.list_(pa.int64())),
            "purchases": pa.array([r.purchases for r in records], pa.list_(pa.int64())),
            "gmv": pa.array([r.gmv for r in records], pa.list_(pa.float64())),
            "split": pa.array([r.split for r in records], pa.string()),
        }
    except ColumnError as error:
        raise ListFileError(f"{path}: rows {first_row} to {first_row + len(records) - 1}, {error}") from error
    return pa.table(columns)


def _from_batch(batch: pa.RecordBatch, path: Path, first_row: int) -> Iterator[ListRecord]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in ("request_id", "candidates", "exposed", "clicks", "split"):
        if columns[name].null_count:
            row = first_row + columns[name].is_null().to_pylist().index(True)
            raise ListFileError(f"{path}: row {row}, column {name}: is null")
    # Columns are converted whole, which is much quicker than record by record.
    try:
        candidates = iter(_candidates(columns["candidates"]))
        counts = lengths(columns["candidates"], "candidates")
        user, context = mappings(columns["user"], "user"), mappings(columns["context"], "context")
        ids, splits = texts(columns["request_id"], "request_id"), texts(columns["split"], "split")
        labels = {
            name: lists(columns[name], name) if name in columns else [None] * batch.num_rows
            for name in ("exposed", "clicks", "purchases", "gmv")
        }
    except ColumnError as error:
        raise ListFileError(f"{path}: rows {first_row} to {first_row + batch.num_rows - 1}, {error}") from error
    for i, count in enumerate(counts):
        yield ListRecord(
            request_id=ids[i],
            candidates=tuple(islice(candidates, count)),
            exposed=labels["exposed"][i] or (),
            clicks=labels["clicks"][i] or (),
            purchases=labels["purchases"][i],
            gmv=labels["gmv"][i],
            user=user[i],
            context=context[i],
            split=cast(Split, splits[i]),
        )


def _candidates(column: pa.Array) -> list[Candidate]:
    parts = members(column, "candidates")
    if "id" not in parts:
        raise ColumnError("column candidates.id: is missing")
    n = len(parts["id"])
    absent = pa.nulls(n)
    return list(
        map(
            Candidate,
            texts(parts["id"], "candidates.id"),
            mappings(parts.get("scores", absent), "candidates.scores"),
            scalars(parts.get("price", absent)),
            mappings(parts.get("features", absent), "candidates.features"),
            lists(parts.get("embedding", absent), "candidates.embedding"),
        )
    )


def _check(record: ListRecord, path: Path, row: int, seen: set[str]) -> None:
    for column, problem in _problems(record):
        raise ListFileError(f"{path}: row {row}, column {column}: {problem}")
    if record.request_id in seen:
        raise ListFileError(f"{path}: row {row}, column request_id: {record.request_id!r} stands twice")
    seen.add(record.request_id)


def _problems(record: ListRecord) -> Iterator[tuple[str, str]]:
    if not _is_text(record.request_id):
        yield "request_id", f"must be text, not {record.request_id!r}"
    if record.split not in get_args(Split):
        yield "split", f"must be one of {', '.join(get_args(Split))}, not {record.split!r}"
    if not record.candidates:
        yield "candidates", "is empty"
    for i, candidate in enumerate(record.candidates):
        if not _sound(candidate):
            yield from ((f"candidates[{i}].{c}", p) for c, p in _candidate_problems(candidate))
    if len({c.id for c in record.candidates}) != len(record.candidates):
        yield "candidates.id", "has the same id twice"
    if len({len(c.embedding) for c in record.candidates if c.embedding is not None}) > 1:
        yield "candidates.embedding", "has different lengths"
    for column in ("user", "context"):
        yield from _table_problems(column, getattr(record, column))
    yield from _label_problems(record)


def _label_problems(record: ListRecord) -> Iterator[tuple[str, str]]:
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
        if not all(_finite(v) and v >= 0 for v in labels):
            yield column, "must hold finite numbers of at least 0"


def _sound(candidate: Candidate) -> bool:
    """Check a candidate quickly, since files hold millions."""
    try:
        return (
            type(candidate.id) is str
            and all(map(math.isfinite, candidate.scores.values()))
            and (candidate.price is None or 0 <= candidate.price < math.inf)
            and all(v is None or isinstance(v, str) or math.isfinite(v) for v in candidate.features.values())
            and (candidate.embedding is None or all(map(math.isfinite, candidate.embedding)))
        )
    except TypeError:
        return False


def _candidate_problems(candidate: Candidate) -> Iterator[tuple[str, str]]:
    if not _is_text(candidate.id):
        yield "id", f"must be text, not {candidate.id!r}"
    for name, value in candidate.scores.items():
        if not _finite(value):
            yield f"scores.{name}", f"is {value!r}, not a finite number"
    if candidate.price is not None and not (_finite(candidate.price) and candidate.price >= 0):
        yield "price", f"is {candidate.price!r}, not a finite number of at least 0"
    yield from _table_problems("features", candidate.features)
    if candidate.embedding is not None and not all(map(_finite, candidate.embedding)):
        yield "embedding", "holds something that is not a finite number"


def _table_problems(column: str, table: Mapping[str, Scalar]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if not (value is None or isinstance(value, (str, bool)) or _finite(value)):
            yield f"{column}.{name}", f"is {value!r}, not text or a finite number"


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
