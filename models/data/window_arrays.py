"""Encode windows of a list file as padded arrays, column by column.

The arrays are those that `batches.py` and `slates.py` make of the same lists as records, without Python objects per
item.

Axis letters: n lists, k items, W places that lists are padded to, C categorical columns, F number columns, E embedding
width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Arrays, Bools, Floats, Floats32, Ints
from models.contract.categories import CategoryColumn
from models.contract.embeddings import unit_rows
from models.contract.features import Encoder
from models.contract.scalars import FeatureError
from models.contract.spec import FeatureSpec, Field, Number
from models.data.batches import ListArrays, encode_lists, pad
from models.data.reading.arrow_numbers import floats, is_number
from models.data.slates import SlateArrays, encode_slates
from models.data.windows import ItemColumns, ListWindow

_Columns = Mapping[str, pa.Array]
_ABSENT: Final = pa.nulls(0)


class WindowEncoder:
    """Encode windows by a spec; `length` is the list horizon, past which lists are cut.

    Its methods raise `ValueError` naming the list and the field that cannot be encoded.
    """

    def __init__(self, spec: FeatureSpec, length: int) -> None:
        self._spec = spec
        self._length = length
        self._encoder = Encoder(spec)

    def shown(self, window: ListWindow) -> ListArrays:
        """Encode the lists shown, as `encode_lists` does."""
        places = _places(window.shown_starts)
        kept = places < self._length
        lengths = np.minimum(window.shown_counts, self._length)
        items = window.candidates.take(window.shown_rows[kept])
        try:
            features = {**self._users(window), **pad(self._items(items), lengths, self._length)}
        except FeatureError:
            encode_lists(list(window.records()), self._spec, self._length)  # it names the list
            raise
        return ListArrays(features, self._labels(window, kept), window.observed.copy(), lengths)

    def slates(self, window: ListWindow) -> SlateArrays:
        """Encode all candidates of every list, as `encode_slates` does."""
        counts = np.diff(window.starts)
        width = int(counts.max(initial=0))
        kept = _places(window.shown_starts) < self._length
        lengths = np.minimum(window.shown_counts, self._length)
        exposed = np.full((len(window), self._length), -1, np.int64)
        exposed[np.arange(self._length) < lengths[:, None]] = window.exposed[kept]
        try:
            features = {**self._users(window), **pad(self._items(window.candidates), counts, width)}
        except FeatureError:
            encode_slates(list(window.records()), self._spec, self._length)  # it names the list
            raise
        features["valid"] = np.arange(width) < counts[:, None]
        labels, ids = self._labels(window, kept), tuple(window.request_ids.to_pylist())
        return SlateArrays(features, labels, window.observed.copy(), lengths, ids, exposed)

    def _users(self, window: ListWindow) -> Arrays:
        """Encode ``user_ids`` [n, C] and ``user_numbers`` [n, F]."""
        spec, n = self._spec, len(window)
        ids, numbers, columns = list[Ints](), list[Floats](), iter(self._encoder.user_columns)
        for group, fields, values in (("user", spec.user, window.user), ("context", spec.context, window.context)):
            ids += [_rows(values, next(columns), n) for field in fields if not isinstance(field, Number)]
            numbers += [_numbers(values, field, group, n) for field in fields if isinstance(field, Number)]
        return self._encoder.user_arrays(_stacked(ids, n, np.int64), _stacked(numbers, n, np.float64))

    def _items(self, items: ItemColumns) -> Arrays:
        """Encode k items, with ``embeddings`` [k, E]."""
        spec, k = self._spec, len(items)
        ids = [_rows(items.features, column, k) for column in self._encoder.item_columns]
        default = 0.0 if spec.price is None else spec.price.default
        prices = floats(items.price.fill_null(default))
        own = [field for field in spec.item if isinstance(field, Number)]
        numbers = [_numbers(items.features, field, "features", k) for field in own]
        numbers += [prices] if spec.price is not None else []
        numbers += [_numbers(items.scores, field, "scores", k) for field in spec.scores]
        arrays = self._encoder.item_arrays(_stacked(ids, k, np.int64), _stacked(numbers, k, np.float64), prices)
        return arrays | {"embeddings": _embeddings(items.embeddings, k)}

    def _labels(self, window: ListWindow, kept: Bools) -> Floats32:
        """Pad the labels of the items that were `kept` [k], float32 [n, L, 3]."""
        labels = np.zeros((len(window), self._length, window.labels.shape[1]), np.float32)
        labels[np.arange(self._length) < window.shown_counts[:, None]] = window.labels[kept]
        return labels


def _places(starts: Ints) -> Ints:
    """Count the place of every item in its own list, from 0, [k]."""
    return np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))


def _rows(columns: _Columns, category: CategoryColumn, n: int) -> Ints:
    """Map a categorical column to rows of the embedding table, each different value once."""
    column = columns.get(category.name, _ABSENT)
    missing = category.row(None)
    if column.null_count == len(column):
        return np.full(n, missing, np.int64)
    coded = column.dictionary_encode()
    rows = np.array([*category.rows(coded.dictionary.to_pylist()), missing], np.int64)
    codes: Ints = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return rows[codes]


def _numbers(columns: _Columns, field: Field, group: str, n: int) -> Floats:
    """Read a column of numbers [n], NaN where missing. Raises `FeatureError` for text."""
    column = columns.get(field.name, _ABSENT)
    if column.null_count == len(column):
        return np.full(n, np.nan)
    if not is_number(column.type) and not pa.types.is_boolean(column.type):
        raise FeatureError(f"{group}.{field.name}", "must be a number, not text")
    return floats(column)


def _embeddings(column: pa.Array | None, k: int) -> Floats32:
    """Scale embeddings to length 1, [k, E ≥ 1]; a missing or zero one is zeros."""
    if column is None or column.null_count == k:
        return np.zeros((k, 1), np.float32)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    width = max(1, int(lengths.max(initial=0)))
    rows = np.zeros((k, width))
    rows[np.arange(width) < lengths[:, None]] = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    return unit_rows(rows)


def _stacked(columns: Sequence[Ints] | Sequence[Floats], n: int, kind: type) -> Any:
    """Stack columns to [columns, n], also if there are none."""
    return np.array(columns, kind).reshape(len(columns), n)
