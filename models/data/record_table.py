"""Convert list records to the columns of a list file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from models.data.records import Candidate, ListFileError, ListRecord


def record_table(records: Sequence[ListRecord], source: str, first: int) -> pa.Table:
    """Convert records to a table; `first` is the row number of the first one.

    A mapping becomes a struct; a key that a record lacks is null there, so null and absent are one. Raises
    `ListFileError` naming the row of a value of a wrong type.
    """
    try:
        return _table(records)
    except _ColumnError as error:
        for row, record in enumerate(records, first):
            _try_one(record, f"{source}: row {row}")
        rows = f"rows {first} to {first + len(records) - 1}"
        raise ListFileError(f"{source}: {rows}, {error}") from error


def widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a table to a schema that may have more fields, null in it."""
    whole = table.combine_chunks()
    columns = [_widened(whole[field.name].chunk(0), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _widened(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, _widened(array.values, kind.value_type), mask=array.is_null())
    if not pa.types.is_struct(kind):
        return array.cast(kind)
    at = {field.name: array.field(i) for i, field in enumerate(array.type)}
    absent = pa.nulls(len(array))
    return pa.StructArray.from_arrays([_widened(at.get(f.name, absent), f.type) for f in kind], fields=list(kind))


class _ColumnError(ValueError):
    """Report values that Arrow cannot hold in one column; the message starts with its name."""


def _try_one(record: ListRecord, where: str) -> None:
    try:
        _table([record])
    except _ColumnError as error:
        raise ListFileError(f"{where}, {error}") from error


def _table(records: Sequence[ListRecord]) -> pa.Table:
    items = [c for r in records for c in r.candidates]
    offsets = pa.array(accumulate((len(r.candidates) for r in records), initial=0), pa.int32())
    columns = {
        "request_id": _array("request_id", [r.request_id for r in records], pa.string()),
        "user": _mappings("user", [r.user for r in records]),
        "context": _mappings("context", [r.context for r in records]),
        "candidates": pa.ListArray.from_arrays(offsets, _candidates(items)),
        "exposed": _codes("exposed", [r.exposed for r in records]),
        "clicks": _codes("clicks", [r.clicks for r in records]),
        "purchases": _codes("purchases", [r.purchases for r in records]),
        "gmv": _array("gmv", [r.gmv for r in records], pa.list_(pa.float64())),
        "split": _array("split", [r.split for r in records], pa.string()),
    }
    return pa.table(columns)


def candidate_columns(items: Sequence[Candidate]) -> dict[str, pa.Array]:
    """Convert candidates to columns by name. Raises `ListFileError` for values of a wrong type."""
    try:
        return _candidate_columns(items)
    except _ColumnError as error:
        raise ListFileError(str(error)) from error


def _candidates(items: Sequence[Candidate]) -> pa.StructArray:
    columns = _candidate_columns(items)
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _candidate_columns(items: Sequence[Candidate]) -> dict[str, pa.Array]:
    return {
        "id": _array("candidates.id", [c.id for c in items], pa.string()),
        "scores": _mappings("candidates.scores", [c.scores for c in items], pa.float64()),
        "price": _array("candidates.price", [c.price for c in items], pa.float64()),
        "features": _mappings("candidates.features", [c.features for c in items]),
        "embedding": _array("candidates.embedding", [c.embedding for c in items], pa.list_(pa.float64())),
    }


def _mappings(column: str, rows: Sequence[Mapping[str, Any]], kind: pa.DataType | None = None) -> pa.Array:
    """Convert mappings to a struct array; nulls without any key, since Parquet lacks empty structs."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return pa.nulls(len(rows))
    fields = [_array(f"{column}.{name}", [row.get(name) for row in rows], kind) for name in names]
    return pa.StructArray.from_arrays(fields, names)


def _codes(column: str, rows: Sequence[Sequence[Any] | None]) -> pa.Array:
    """Convert lists of whole numbers. Arrow alone would cut off a fraction without a word."""
    found = _array(column, rows, None)
    return _named(column, lambda: found.cast(pa.list_(pa.int64())))


def _array(column: str, values: Sequence[Any], kind: pa.DataType | None) -> pa.Array:
    return _named(column, lambda: pa.array(values, kind))


def _named(column: str, build: Callable[[], pa.Array]) -> pa.Array:
    try:
        return build()
    except (pa.ArrowException, OverflowError) as error:
        raise _ColumnError(f"column {column}: does not hold values of one kind: {error}") from error
