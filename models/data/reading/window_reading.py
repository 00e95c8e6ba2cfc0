"""Turn rows of a list file, in any form, into a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from models.contract.arrays import Bools, Floats, Ints
from models.data.reading.arrow_forms import codes, first, lists, members, numbers, texts, values
from models.data.reading.field_types import FieldTypes
from models.data.reading.place import Place
from models.data.windows import ItemColumns, ListWindow

_LABELS: Final = ("clicks", "purchases", "gmv")


def read_window(
    batch: pa.RecordBatch, source: str, rows: Ints, types: FieldTypes, *, embeddings: bool = True
) -> ListWindow:
    """Convert the rows of a batch, whose row numbers are `rows`. Raises `ListFileError`."""
    place = Place(source, "", rows)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    # The split comes first: a mistake there is the easiest to understand.
    splits, request_ids = (_required_text(columns[name], place.of(name)) for name in ("split", "request_id"))
    items, starts, known = lists(columns["candidates"], place.of("candidates"))
    _require(known, place.of("candidates"))
    exposed, shown_starts = _exposed(columns["exposed"], place.of("exposed"))
    labels, observed = _labels(columns, shown_starts, place)
    absent = pa.nulls(len(rows))
    return ListWindow(
        source=source,
        rows=rows,
        request_ids=request_ids,
        splits=splits,
        user=_fields(columns.get("user", absent), place.of("user"), types),
        context=_fields(columns.get("context", absent), place.of("context"), types),
        candidates=_items(items, place.of("candidates").inside(starts), types, embeddings),
        starts=starts,
        exposed=exposed,
        shown_starts=shown_starts,
        labels=labels,
        observed=observed,
    )


def _require(known: Bools, place: Place) -> None:
    if not known.all():
        raise place.error("is null", int(np.argmin(known)))


def _required_text(array: pa.Array, place: Place) -> pa.Array:
    if array.null_count:
        raise place.error("is null", first(array.is_null()))
    found = texts(array, place)
    if found.null_count:  # a dictionary may hold the null
        raise place.error("is null", first(found.is_null()))
    return found


def _fields(array: pa.Array, place: Place, types: FieldTypes) -> Mapping[str, pa.Array]:
    """Convert the fields of a struct or a map, without those of type null."""
    found = {}
    for name, part in members(array, place).items():
        at = place.member(name)
        if not kinds.is_null(part.type):
            found[name] = values(part, at, types.wanted(at.column))
    return found


def _items(items: pa.Array, place: Place, types: FieldTypes, embeddings: bool) -> ItemColumns:
    if not (kinds.is_struct(items.type) or kinds.is_null(items.type)):
        raise place.error(f"must be a list of structs, not of {items.type}")
    if items.null_count:
        raise place.error("is null", first(items.is_null()))
    parts = members(items, place)
    if "id" not in parts and len(items):
        raise place.member("id").error("is missing")
    absent = pa.nulls(len(items))
    scores = members(parts.get("scores", absent), place.member("scores"))
    return ItemColumns(
        _required_text(parts.get("id", absent), place.member("id")),
        {name: numbers(part, place.member(f"scores.{name}")) for name, part in scores.items()},
        numbers(parts.get("price", absent), place.member("price")),
        _fields(parts.get("features", absent), place.member("features"), types),
        _embeddings(parts.get("embedding", absent), place.member("embedding")) if embeddings else None,
    )


def _embeddings(array: pa.Array, place: Place) -> pa.Array:
    found, starts, known = lists(array, place)
    if found.null_count:
        at = int(np.searchsorted(starts, first(found.is_null()), side="right")) - 1
        raise place.error("holds a null", at)
    offsets = pa.array(starts.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, numbers(found, place), mask=pa.array(~known))


def _exposed(array: pa.Array, place: Place) -> tuple[Ints, Ints]:
    found, starts, known = lists(array, place)
    _require(known, place)
    return codes(found, place.inside(starts)), starts


def _labels(columns: Mapping[str, pa.Array], shown_starts: Ints, place: Place) -> tuple[Floats, Bools]:
    labels = np.zeros((int(shown_starts[-1]), 3))
    observed = np.zeros((len(shown_starts) - 1, 3), bool)
    counts = np.diff(shown_starts)
    for i, name in enumerate(_LABELS):
        if name in columns:
            found, starts, known = lists(columns[name], place.of(name))
            _require_lengths(np.diff(starts), counts, known, place.of(name))
            at = place.of(name).inside(starts)
            labels[np.repeat(known, counts), i] = _amounts(found, at) if name == "gmv" else codes(found, at)
            observed[:, i] = known
            if name == "clicks":
                _require(known, at.inside(None))
    return labels, observed


def _require_lengths(lengths: Ints, counts: Ints, known: Bools, place: Place) -> None:
    wrong = known & (lengths != counts)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise place.error(f"has {lengths[row]} values for {counts[row]} exposed positions", row)


def _amounts(array: pa.Array, place: Place) -> Floats:
    if array.null_count:
        raise place.error("holds a null", first(array.is_null()))
    found: Floats = numbers(array, place).to_numpy(zero_copy_only=False)
    return found
