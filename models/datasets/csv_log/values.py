"""Parse the cells of features, scores and prices as Arrow columns, where null is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Bools, Floats
from models.datasets.csv import cells
from models.datasets.csv.form import Decimal
from models.datasets.csv_log.columns import ColumnMap
from models.datasets.csv_log.parts import Rows
from models.datasets.csv_log.profile import Kind

TYPES: Final[Mapping[Kind, pa.DataType]] = {
    "whole number": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
}
"""How features are stored."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold how the columns of a log are read.

    `kinds` are those of the features' columns, `whole` the columns of ids in which 33.0 is 33.
    """

    columns: ColumnMap
    kinds: Mapping[str, Kind]
    whole: frozenset[str]
    decimal: Decimal
    numeric_time: bool

    def column(self, role: str) -> str | None:
        """Return the column of a role, or None."""
        return self.columns.roles.get(role)


def feature(rows: Rows, column: str, reading: Reading) -> pa.Array:
    """Parse a feature by the kind of its column."""
    text, kind = rows.text[column], reading.kinds[column]
    if kind == "text":
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if kind == "flag":
        lower = pc.utf8_lower(text)
        return pc.if_else(pc.equal(lower, ""), pa.scalar(None, pa.bool_()), pc.equal(lower, "true"))
    numbers = finite(rows, column, reading.decimal)
    return pa.array(numbers, from_pandas=True).cast(TYPES[kind])


def finite(rows: Rows, column: str, decimal: Decimal, *, least: float = -np.inf) -> Floats:
    """Parse numbers; NaN stands for an empty cell.

    Raises `TableError` for any other cell that is no finite number of at least `least`.
    """
    text = rows.text[column]
    numbers = cells.numbers(text, decimal)
    missing = cells.empty(text)
    wrong = ~missing & ~(numbers >= least)
    if wrong.any():
        place = int(wrong.argmax())
        value = text[place].as_py()
        bound = "" if np.isneginf(least) else f" of at least {least:g}"
        hint = cells.number_hint(value, decimal) or cells.missing_hint(value)
        raise rows.error(place, column, f"must be a finite number{bound}, not {value[:40]!r}{hint}")
    return numbers


def flags(rows: Rows, column: str, shown: Bools) -> Bools:
    """Parse an outcome, which only items that were shown can have.

    Raises `TableError` for an empty cell of a shown item, a 1 of another, and anything but 0 or 1.
    """
    values = cells.flags(rows.text[column])
    for wrong, problem in (
        (values == cells.INVALID, "must be 0 or 1 (true or false; 1 for any count above)"),
        (shown & (values == cells.EMPTY), "is empty, but the item was shown: say 0 or 1"),
        (~shown & (values == 1), "is 1, but the item was not shown: its position is empty"),
    ):
        if wrong.any():
            place = int(wrong.argmax())
            value = rows.text[column][place].as_py()
            problem += f", not {value[:40]!r}{cells.missing_hint(value)}" if values[place] == cells.INVALID else ""
            raise rows.error(place, column, problem)
    found: Bools = values == 1
    return found
