"""Check what a window holds, whole columns at a time."""

from __future__ import annotations

from typing import Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from models.contract.arrays import Bools, Floats, Ints
from models.data.reading.place import Place
from models.data.reading.request_ids import RequestIds
from models.data.records import Split
from models.data.windows import ListWindow

_BINARY: Final = ("clicks", "purchases")


def check_window(window: ListWindow) -> None:
    """Check all values of a window but for request ids that stand twice. Raises `ListFileError`."""
    place = Place(window.source, "", window.rows)
    _check_splits(window.splits, place.of("split"))
    _check_filled(window.request_ids, place.of("request_id"))
    empty = np.diff(window.starts) == 0
    if empty.any():
        raise place.of("candidates").error("is empty", int(np.argmax(empty)))
    _check_items(window, place.of("candidates").inside(window.starts))
    for group, columns in (("user", window.user), ("context", window.context)):
        for name, column in columns.items():
            _check_finite(column, place.of(f"{group}.{name}"), "text or a finite number")
    _check_exposed(window, place.of("exposed"))
    _check_labels(window.labels, place.inside(window.shown_starts))


def check_request_ids(window: ListWindow, seen: RequestIds) -> None:
    """Check that no request id stands twice or was seen before.

    Raises `ListFileError`.
    """
    check_new(window.request_ids, Place(window.source, "request_id", window.rows), seen)


def check_new(ids: pa.Array, place: Place, seen: RequestIds) -> None:
    """Check that no id at a place stands twice or was seen before. Raises `ListFileError`."""
    at = seen.repeated(ids)
    if at is not None:
        raise place.error(f"{ids[at].as_py()!r} stands twice", at)


def _check_splits(splits: pa.Array, place: Place) -> None:
    known = pc.is_in(splits, pa.array(get_args(Split)))
    if pc.all(known).as_py() is False:
        at = int(pc.index(known, False).as_py())
        raise place.error(f"must be one of {', '.join(get_args(Split))}, not {splits[at].as_py()!r}", at)


def _check_filled(ids: pa.Array, place: Place) -> None:
    at = int(pc.index(ids, "").as_py())
    if at >= 0:
        raise place.error("is empty", at)


def _check_items(window: ListWindow, place: Place) -> None:
    items = window.candidates
    for name, column in items.scores.items():
        _check_finite(column, place.member(f"scores.{name}"), "a finite number")
    _check_finite(items.price, place.member("price"), "a finite number of at least 0", least=0.0)
    for name, column in items.features.items():
        _check_finite(column, place.member(f"features.{name}"), "text or a finite number")
    _check_filled(items.ids, place.member("id"))
    _check_ids(items.ids, window.starts, place.inside(None).member("id"))
    if items.embeddings is not None and items.embeddings.null_count < len(items):
        _check_embeddings(items.embeddings, window.starts, place.member("embedding"))


def _check_finite(column: pa.Array, place: Place, wanted: str, least: float = -np.inf) -> None:
    if not kinds.is_floating(column.type):
        return
    raw = column.to_numpy(zero_copy_only=False)
    sound: Bools = np.isfinite(raw) & (raw >= least)
    if sound.all():
        return
    # Arrow's nulls become NaN, so that what looks unsound may be absent.
    unsound = ~sound & column.is_valid().to_numpy(zero_copy_only=False)
    if unsound.any():
        at = int(np.argmax(unsound))
        raise place.error(f"is {column[at].as_py()!r}, not {wanted}", at)


def _check_ids(ids: pa.Array, starts: Ints, place: Place) -> None:
    encoded = ids.dictionary_encode()
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    keys = owners * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy(zero_copy_only=False)
    keys.sort()
    twice = keys[1:] == keys[:-1]
    if twice.any():
        row, code = divmod(int(keys[int(np.argmax(twice))]), len(encoded.dictionary))
        raise place.error(f"has the same id twice: {encoded.dictionary[code].as_py()!r}", row)


def _check_embeddings(vectors: pa.Array, starts: Ints, place: Place) -> None:
    numbers: Floats = vectors.flatten().to_numpy(zero_copy_only=False)
    lengths = vectors.value_lengths()
    if not np.isfinite(numbers).all():
        ends = np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False))
        bad = int(np.argmin(np.isfinite(numbers)))
        at = int(np.searchsorted(ends, bad, side="right"))
        raise place.error(f"holds {float(numbers[bad])!r}, not a finite number", at)
    if len(pc.unique(lengths.drop_null())) > 1:  # rare: then list by list
        _check_lengths(lengths.to_numpy(zero_copy_only=False), starts, place.inside(None))


def _check_lengths(lengths: Floats, starts: Ints, place: Place) -> None:
    known = ~np.isnan(lengths)
    most = np.maximum.reduceat(np.where(known, lengths, -np.inf), starts[:-1])
    least = np.minimum.reduceat(np.where(known, lengths, np.inf), starts[:-1])
    differ = most > least
    if differ.any():
        row = int(np.argmax(differ))
        raise place.error(f"has different lengths: {int(least[row])} and {int(most[row])}", row)


def _check_exposed(window: ListWindow, place: Place) -> None:
    counts = np.diff(window.starts)
    owners = np.repeat(np.arange(len(window)), window.shown_counts)
    outside = (window.exposed < 0) | (window.exposed >= counts[owners])
    if outside.any():
        at = int(np.argmax(outside))
        row = int(owners[at])
        raise place.error(f"must hold indices between 0 and {counts[row] - 1}, not {window.exposed[at]}", row)
    rows = np.sort(window.shown_rows)
    twice = rows[1:] == rows[:-1]
    if twice.any():
        at = int(rows[int(np.argmax(twice))])
        row = int(np.searchsorted(window.starts, at, side="right")) - 1
        raise place.error(f"shows a candidate twice: {at - window.starts[row]}", row)


def _check_labels(labels: Floats, place: Place) -> None:
    for i, name in enumerate(_BINARY):
        column = labels[:, i]
        wrong = (column != 0) & (column != 1)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise place.of(name).error(f"must hold 0 or 1, not {int(column[at])}", at)
    gmv = labels[:, 2]
    wrong = ~(np.isfinite(gmv) & (gmv >= 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise place.of("gmv").error(f"must hold finite numbers of at least 0, not {float(gmv[at])!r}", at)
