"""Turn the columns of a request into arrays, and check each beside the ids."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.contract.arrays import Floats, Floats32
from models.contract.column_table import Column, ColumnData, Float32Error, read_float32
from service.contract.column_schemas import CandidateColumns
from service.contract.problems import Problem, invalid
from service.contract.values import LARGEST_PRICE, MOST_NUMBERS, FieldValue

MOST_COLUMNS: Final = 4_096
"""Most columns of one request; so many with one value each take some 10 ms."""

_LONGEST_PATH: Final = 300


def read_columns(columns: CandidateColumns) -> ColumnData:
    """Return the columns as arrays, but not embeddings that are arrays of JSON.

    Raises `Problem` (422) naming the first column that is not as long as the ids, that is no base64 of finite numbers,
    or whose prices are out of range.
    """
    n = len(columns.id)
    scores, features, tags = columns.scores, columns.features or {}, columns.tags or {}
    count = len(scores) + len(features) + len(tags)
    if count > MOST_COLUMNS:
        raise invalid("candidates", f"has {count} columns; at most {MOST_COLUMNS} are allowed")
    if isinstance(columns.embedding, list):
        _check_length(len(columns.embedding), "embedding", n)
    return ColumnData(
        ids=columns.id,
        scores={name: _numbers(c, f"scores.{name}", n) for name, c in scores.items() if c is not None},
        price=None if columns.price is None else _prices(columns.price, n),
        features={name: _values(c, f"features.{name}", n) for name, c in features.items() if c is not None},
        embeddings=_embeddings(columns.embedding, n) if isinstance(columns.embedding, bytes) else None,
        tags={name: _values(c, f"tags.{name}", n) for name, c in tags.items() if c is not None},
    )


def _numbers(column: list[float | None] | bytes, name: str, n: int) -> Floats:
    """Return numbers [n], NaN where one is missing."""
    numbers = _read(column, name) if isinstance(column, bytes) else column
    _check_length(len(numbers), name, n)
    return np.array(numbers, np.float64)


def _values(column: list[FieldValue] | bytes, name: str, n: int) -> Column:
    """Return values [n] as they came, or numbers."""
    if isinstance(column, bytes):
        return _numbers(column, name, n)
    _check_length(len(column), name, n)
    return column


def _prices(column: list[float | None] | bytes, n: int) -> Floats:
    """Return prices [n]; those of an array have been checked while it was decoded."""
    prices = _numbers(column, "price", n)
    wrong = (prices < 0) | (prices > LARGEST_PRICE)
    if wrong.any():
        place = int(wrong.argmax())
        bound = ">= 0.0" if prices[place] < 0 else f"<= {LARGEST_PRICE}"
        raise _wrong(f"price[{place}]", f"Expected float {bound}")
    return prices


def _embeddings(data: bytes, n: int) -> Floats32:
    """Return the embeddings [n, E] that came in base64."""
    numbers = _read(data, "embedding", rows=n)
    width, rest = divmod(len(numbers), n)
    if rest or not 0 < width <= MOST_NUMBERS:
        wanted = f"a multiple of {n}, as many as ids, is expected, and at most {MOST_NUMBERS} for each"
        raise _wrong("embedding", f"has {len(numbers)} numbers; {wanted}")
    return numbers.reshape(n, width)


def _read(data: bytes, name: str, *, rows: int | None = None) -> Floats32:
    """Return the numbers that came in base64.

    A fault names the place of a number, with its row if there are so many `rows`.
    """
    try:
        return read_float32(data)
    except Float32Error as error:
        place = "" if error.place is None else f"[{error.place}]"
        if rows is not None and error.place is not None:
            width = max(1, len(data) // 4 // rows)
            place = f"[{error.place // width}][{error.place % width}]"
        raise _wrong(name + place, str(error)) from None


def _check_length(length: int, name: str, n: int) -> None:
    if length != n:
        raise _wrong(name, f"has {length} values, but candidates.id has {n}")


def _wrong(name: str, problem: str) -> Problem:
    return invalid(f"candidates.{name}"[:_LONGEST_PATH], problem)
