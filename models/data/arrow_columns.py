"""Convert whole Arrow columns from and to plain Python values.

That is much quicker than row by row. A mapping becomes a struct; a key that a row lacks is null there, so null and
absent are one. All functions raise `ColumnError` naming the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


class ColumnError(ValueError):
    """Report a column of the wrong shape; the message starts with its name."""


def mapping_array(rows: Sequence[Mapping[str, Any]], column: str, kind: pa.DataType | None = None) -> pa.Array:
    """Convert mappings to a struct array; nulls without any key, since Parquet lacks empty structs."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return pa.nulls(len(rows))
    fields = []
    for name in names:
        try:
            fields.append(pa.array([row.get(name) for row in rows], kind))
        except pa.ArrowException as error:
            raise ColumnError(f"column {column}.{name}: does not hold values of one kind: {error}") from error
    return pa.StructArray.from_arrays(fields, names)


def mappings(array: pa.Array, column: str) -> list[dict[str, Any]]:
    """Convert a struct array to mappings without its nulls."""
    if pa.types.is_null(array.type):
        return [{} for _ in range(len(array))]
    if not pa.types.is_struct(array.type):
        raise ColumnError(f"column {column}: must be a struct, not {array.type}")
    names = [field.name for field in array.type]
    columns = [scalars(part) for part in array.flatten()]
    if any(part.null_count for part in array.flatten()):
        rows = zip(*columns, strict=True)
        return [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in rows]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def members(array: pa.Array, column: str) -> dict[str, pa.Array]:
    """Split the structs in all lists of a column into their fields, end to end."""
    _must_be_list(array, column)
    flat = array.flatten()
    if not pa.types.is_struct(flat.type):
        raise ColumnError(f"column {column}: must be a list of structs, not of {flat.type}")
    return dict(zip([field.name for field in flat.type], flat.flatten(), strict=True))


def lengths(array: pa.Array, column: str) -> list[int]:
    """Return the length of each list of a column without nulls."""
    _must_be_list(array, column)
    return [int(n) for n in array.value_lengths().to_pylist()]


def lists(array: pa.Array, column: str) -> list[tuple[Any, ...] | None]:
    """Convert lists of plain values to tuples; null stays None."""
    if pa.types.is_null(array.type):
        return [None] * len(array)
    _must_be_list(array, column)
    values, result, begin = scalars(array.flatten()), list[tuple[Any, ...] | None](), 0
    for length in array.value_lengths().to_pylist():
        if length is None:
            result.append(None)
        else:
            result.append(tuple(values[begin : begin + length]))
            begin += length
    return result


def texts(array: pa.Array, column: str) -> list[str]:
    """Convert a column of text without nulls; whole numbers are written out."""
    if array.null_count:
        raise ColumnError(f"column {column}: holds a null")
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        if not pa.types.is_integer(array.type):
            raise ColumnError(f"column {column}: must be text, not {array.type}")
        array = array.cast(pa.string())
    return list(array.to_pylist())


def scalars(array: pa.Array) -> list[Any]:
    """Convert a column to plain values; null becomes None."""
    numeric = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    if numeric and not array.null_count:
        return list(array.to_numpy(zero_copy_only=False).tolist())
    return list(array.to_pylist())


def _must_be_list(array: pa.Array, column: str) -> None:
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        raise ColumnError(f"column {column}: must be a list, not {array.type}")
