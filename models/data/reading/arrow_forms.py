"""Read the forms in which programs write one and the same column to Parquet.

Each function takes an array of any form and returns the one form that the rest of the code knows: text as `string`,
numbers as `float64`, codes as `int64`. All raise `ListFileError` through a `Place`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from models.contract.arrays import Bools, Floats, Ints
from models.data.reading.place import Place

_LISTS: Final = (
    kinds.is_list, kinds.is_large_list, kinds.is_list_view, kinds.is_large_list_view, kinds.is_fixed_size_list,
)  # fmt: skip


def texts(array: pa.Array, place: Place) -> pa.Array:
    """Convert text, bytes in UTF-8 or whole numbers to text."""
    array = plain(array)
    if is_text(array.type) or is_bytes(array.type):
        return _decoded(array, place)
    if kinds.is_null(array.type) or kinds.is_integer(array.type) or _is_whole_decimal(array.type):
        return array.cast(pa.string())
    raise place.error(f"must be text or whole numbers, not {array.type}")


def numbers(array: pa.Array, place: Place) -> pa.Array:
    """Convert numbers of any type to float64; a boolean counts as 0 or 1."""
    array = plain(array)
    if kinds.is_float64(array.type):
        return array
    if not (_is_number(array.type) or kinds.is_boolean(array.type) or kinds.is_null(array.type)):
        raise place.error(f"must be numbers, not {array.type}")
    return _floats(array)


def codes(array: pa.Array, place: Place) -> Ints:
    """Convert whole numbers of any type to int64. Nulls and fractions are errors."""
    array = plain(array)
    if array.null_count:
        raise place.error("holds a null", first(array.is_null()))
    if kinds.is_signed_integer(array.type):
        found: Ints = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return found
    values: Floats = numbers(array, place).to_numpy(zero_copy_only=False)
    whole: Bools = (np.floor(values) == values) & (np.abs(values) < 2.0**63)
    if not whole.all():
        at = int(np.argmin(whole))
        raise place.error(f"holds {array[at].as_py()}, not a whole number", at)
    return values.astype(np.int64)


def values(array: pa.Array, place: Place, wanted: pa.DataType | None = None) -> pa.Array:
    """Convert a field's values to text, int64, float64 or bool.

    `wanted` may widen int64 to float64.
    """
    array = plain(array)
    kind = value_type(array.type, place)
    if kinds.is_string(kind):
        return _decoded(array, place)
    if kinds.is_int64(kind):
        array = _whole(array, place)
    return _floats(array) if kinds.is_float64(kind if wanted is None else wanted) else array


def _whole(array: pa.Array, place: Place) -> pa.Array:
    """Convert integers or decimals without a fraction to int64."""
    try:
        return (array.cast(pa.decimal256(76, 0)) if kinds.is_decimal(array.type) else array).cast(pa.int64())
    except pa.ArrowInvalid:
        at = next(i for i, value in enumerate(array.to_pylist()) if value is not None and not _fits(value))
        raise place.error(f"holds {array[at].as_py()}, beyond 64-bit integers; write it as text", at) from None


def value_type(kind: pa.DataType, place: Place) -> pa.DataType:
    """Return the type that a field's values are read as."""
    if kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if is_text(kind) or is_bytes(kind):
        return pa.string()
    if kinds.is_boolean(kind) or kinds.is_null(kind):
        return kind
    if kinds.is_integer(kind) or _is_whole_decimal(kind):
        return pa.int64()
    if _is_number(kind):
        return pa.float64()
    if kinds.is_temporal(kind):
        raise place.error(f"is {kind}; write the hour, the weekday or an age in days, as a number or as text")
    raise place.error(f"is {kind}; a field holds one value: text, a number or a boolean")


def lists(array: pa.Array, place: Place) -> tuple[pa.Array, Ints, Bools]:
    """Split lists of any form into their elements.

    Also return where each list starts [n + 1] and which lists are not null [n].
    """
    array = plain(array)
    n = len(array)
    if kinds.is_null(array.type):
        return pa.nulls(0), np.zeros(n + 1, np.int64), np.zeros(n, bool)
    if not is_list(array.type):
        raise place.error(f"must be a list, not {array.type}")
    counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pc.list_flatten(array), starts, array.is_valid().to_numpy(zero_copy_only=False)


def members(array: pa.Array, place: Place) -> dict[str, pa.Array]:
    """Split a struct or a map into one array per name.

    A name that a row lacks is null there.
    """
    array = plain(array)
    if kinds.is_null(array.type):
        return {}
    if kinds.is_struct(array.type):
        names = [field.name for field in array.type]
        if len(set(names)) != len(names):
            raise place.error("has two fields of one name")
        return dict(zip(names, array.flatten(), strict=True))
    if not is_map(array.type):
        raise place.error(f"must be a struct or a map, not {array.type}")
    return _keys(array, place)


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a type is a list of any form."""
    return any(is_kind(kind) for is_kind in _LISTS)


def is_map(kind: pa.DataType) -> bool:
    """Tell whether a type is a map or a list of key and value."""
    if not is_list(kind):
        return bool(kinds.is_map(kind))
    entry = kind.value_type
    return bool(kinds.is_struct(entry)) and {field.name for field in entry} == {"key", "value"}


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a type is text of any form."""
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether a type is bytes of any length, in which some programs write text."""
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind))


def plain(array: pa.Array) -> pa.Array:
    """Undo a dictionary, runs or an extension type."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if kinds.is_dictionary(array.type):
        return array.dictionary_decode()
    return pc.run_end_decode(array) if kinds.is_run_end_encoded(array.type) else array


def first(mask: pa.Array) -> int:
    """Find the first true element."""
    return int(pc.index(mask, True).as_py())


def _keys(array: pa.Array, place: Place) -> dict[str, pa.Array]:
    """Split maps into one array per key."""
    if kinds.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
    parents: Ints = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    parts = members(pc.list_flatten(array), place)
    names = texts(parts["key"], place.elements(parents))
    if names.null_count:
        raise place.error("has a key that is null", int(parents[first(names.is_null())]))
    names = names.dictionary_encode()
    marks = names.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(marks, kind="stable")
    ends = np.cumsum(np.bincount(marks, minlength=len(names.dictionary)))
    entries = dict(zip(names.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=True)) if len(ends) else {}
    return {name: _key(parts["value"], entries[name], parents, len(array), name, place) for name in sorted(entries)}


def _key(found: pa.Array, entries: Ints, parents: Ints, n: int, name: str, place: Place) -> pa.Array:
    """Put the values of one key at the rows that have it."""
    rows = parents[entries]
    twice = rows[1:] == rows[:-1]
    if twice.any():
        raise place.error(f"has the key {name!r} twice", int(rows[int(np.argmax(twice))]))
    at = np.full(n, -1)
    at[rows] = entries
    return found.take(pa.array(at, mask=at < 0))


def _decoded(array: pa.Array, place: Place) -> pa.Array:
    """Convert text or bytes to text. Bytes that are not UTF-8 are an error."""
    try:
        found = array.cast(pa.string())
        found.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.large_binary()).to_pylist()
        at = next((i for i, value in enumerate(raw) if value is not None and not _is_utf8(value)), None)
        raise place.error("holds bytes that are not text in UTF-8", at) from None
    return found


def _floats(array: pa.Array) -> pa.Array:
    """Convert numbers to the nearest float64."""
    if kinds.is_decimal(array.type):
        # Arrow's own cast of decimals may be off by the last bit; that of text is not.
        array = array.cast(pa.string())
    return array.cast(pa.float64(), safe=False)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fits(value: Any) -> bool:
    return bool(-(2**63) <= value < 2**63)


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _is_whole_decimal(kind: pa.DataType) -> bool:
    return bool(kinds.is_decimal(kind) and kind.scale == 0)
