"""Encode blocks of items as a request's candidates are encoded, to arrays of a segment.

Axis letters: m items of the segment, k rows of a block, C categorical columns, F number columns, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from models.catalogue.fields import FieldPlan, check_finite
from models.catalogue.index import ItemIndex
from models.catalogue.items import ItemBlock
from models.catalogue.texts import TextColumn
from models.contract.arrays import Floats, Floats32, Ints
from models.contract.catalogue.lookup import make_directory
from models.contract.catalogue.segment import FieldValues, Segment
from models.contract.categories import CategoryColumn
from models.contract.embeddings import unit_rows
from models.contract.features import Encoder
from models.contract.spec import FeatureSpec
from models.data.reading.arrow_forms import first, is_list, lists, numbers, plain

HIGHEST_PRICE: Final = 1e12
"""Highest price of an item, as in requests."""

WIDEST_EMBEDDING: Final = 4096
"""Most numbers of an embedding, as in requests."""

_MISSING: Final = -1


class SegmentEncoder:
    """Collect the arrays of a segment block by block; what no block has stays missing."""

    def __init__(self, spec: FeatureSpec, plans: Sequence[FieldPlan], index: ItemIndex, width: int) -> None:
        encoder, m = Encoder(spec), len(index)
        self._index = index
        self._columns = encoder.item_columns
        self._numbers_of = [f.name for f in spec.own_item_numbers]
        self._rows = np.full((m, len(self._columns)), _MISSING, np.int32)
        self._numbers = np.full((m, len(self._numbers_of)), np.nan)
        self._price = np.full(m, np.nan)
        self._embeddings: Floats32 | None = None
        self._values = {plan.name: _value_column(plan, m) for plan in plans}
        self.width = width

    def add(self, block: ItemBlock, places: Ints) -> None:
        """Put the items of a block [k] at their places.

        Fields and prices are of the types in which they are kept.
        """
        for name, array in block.fields.items():
            self._add_field(name, array, places)
        if (price := block.columns.get("price")) is not None:
            self._price[places] = floats(price)
        if (embedding := block.columns.get("embedding")) is not None:
            self._add_embeddings(embedding, places, block)

    def segment(self) -> Segment:
        """Return the arrays; nothing may be added afterwards."""
        return Segment(
            hashes=self._index.hashes,
            directory=make_directory(self._index.hashes),
            rows=self._rows,
            numbers=self._numbers,
            price=self._price,
            embeddings=self._embeddings,
            deleted=self._index.deleted if self._index.tombstones else None,
            values=tuple(_finished(column) for column in self._values.values()),
        )

    def _add_field(self, name: str, array: pa.Array, places: Ints) -> None:
        # Each distinct value is looked at once: `codes` [k] number them.
        distinct = array.dictionary_encode()
        codes = distinct.indices.fill_null(_MISSING).to_numpy(zero_copy_only=False)
        for column, wanted in enumerate(self._columns):
            if wanted.name == name:
                self._rows[places, column] = _category_rows(wanted, distinct.dictionary, codes)
        for column, number in enumerate(self._numbers_of):
            if number == name:
                self._numbers[places, column] = floats(array)
        values = self._values[name]
        if isinstance(values, TextColumn):
            values.add(distinct.dictionary, codes, places)
        elif values.dtype == np.int8:
            values[places] = array.cast(pa.int8()).fill_null(_MISSING).to_numpy(zero_copy_only=False)
        else:
            values[places] = floats(array)

    def _add_embeddings(self, array: pa.Array, places: Ints, block: ItemBlock) -> None:
        rows, given = read_embeddings(array, block, self.width)
        if not len(given):
            return
        if self._embeddings is None:
            self.width = rows.shape[1]
            self._embeddings = np.zeros((len(self._index), self.width), np.float32)
        self._embeddings[places[given]] = unit_rows(rows)


def read_price(array: pa.Array, block: ItemBlock) -> pa.Array:
    """Convert prices to float64. Raises `ListFileError` naming one that no request could have."""
    place = block.place("price")
    found = numbers(array, place)
    check_finite(found, place)
    prices = floats(found)
    wrong = (prices < 0) | (prices > HIGHEST_PRICE)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise place.error(f"must be within 0..{HIGHEST_PRICE:g}, not {prices[at]:g}", at)
    return found


def read_embeddings(array: pa.Array, block: ItemBlock, width: int) -> tuple[Floats, Ints]:
    """Return the embeddings of a block, float64 [g, E], and which of its rows have one [g].

    An empty one is missing. A `width` of 0 takes any, if all have the same. Raises `ListFileError` naming row and
    fault.
    """
    place = block.place("embedding")
    elements, starts, _ = lists(array, place)
    counts = np.diff(starts)
    given = np.flatnonzero(counts)
    if not len(given):
        return np.zeros((0, width)), given
    wanted = width or int(counts[given[0]])
    wrong = (counts != wanted) & (counts > 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise place.error(f"has {counts[at]} numbers, where others have {wanted}", at)
    if wanted > WIDEST_EMBEDDING:
        raise place.error(f"has {wanted} numbers; at most {WIDEST_EMBEDDING} are read", int(given[0]))
    inside = place.inside(starts)
    found = numbers(elements, inside)
    if found.null_count:
        raise inside.error("holds a null", first(found.is_null()))
    check_finite(found, inside)
    # A copy, since scaling writes over it.
    return np.array(found.to_numpy(zero_copy_only=False), np.float64).reshape(-1, wanted), given


def embedding_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that an embedding's numbers are kept as: float32 or float64.

    They are kept as float32 if nothing is lost by it.
    """
    inner = kind.value_type if is_list(kind) else pa.null()
    return pa.float32() if kinds.is_float32(inner) or kinds.is_float16(inner) else pa.float64()


def floats(array: pa.Array) -> Floats:
    """Convert numbers or flags [k] to float64, NaN for null."""
    array = plain(array)
    array = array.cast(pa.int8()) if kinds.is_boolean(array.type) else array
    found: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _category_rows(column: CategoryColumn, distinct: pa.Array, codes: Ints) -> NDArray[np.int32]:
    """Map codes [k] of distinct values to rows of the embedding table, −1 for none."""
    rows = np.array([*column.rows(distinct.to_pylist()), _MISSING], np.int32)
    found: NDArray[np.int32] = rows[codes]  # −1 names the last
    return found


def _value_column(plan: FieldPlan, m: int) -> TextColumn | NDArray[Any]:
    if plan.kind == "text":
        return TextColumn(m)
    return np.full(m, np.nan) if plan.kind == "number" else np.full(m, _MISSING, np.int8)


def _finished(column: TextColumn | NDArray[Any]) -> FieldValues:
    return column.finish() if isinstance(column, TextColumn) else column
