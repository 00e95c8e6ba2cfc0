"""Write list records to a list file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from models.contract.features import Scalar
from models.data.arrow_columns import ColumnError, mapping_array
from models.data.records import Candidate, ListFileError, ListRecord, Split
from models.files import whole_file

METADATA_KEY: Final = b"listwright"
_CHUNK: Final = 2048


def write_lists(path: Path, records: Iterable[ListRecord], metadata: Mapping[str, Any]) -> int:
    """Write records and `metadata` (source, seed, …) to Parquet; return the number of records.

    Every record is checked first and the file appears under its name only when complete. A feature that is None is not
    written, as if it were absent. Raises `ListFileError`.
    """
    note = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    tables, seen = [], set[str]()
    stream = enumerate(records)
    # Only one chunk of records is held as Python objects; tables are much smaller.
    while chunk := list(islice(stream, _CHUNK)):
        for row, record in chunk:
            check_record(record, path, row, seen)
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


def check_record(record: ListRecord, path: Path, row: int, seen: set[str]) -> None:
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
