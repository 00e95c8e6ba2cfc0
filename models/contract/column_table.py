"""Offer candidates that came as columns.

Axis letters: n candidates, k places that are asked for, E embedding width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.candidates import CandidateTable, Group
from models.contract.embeddings import unit_rows
from models.contract.scalars import Scalar

Column = Floats | Sequence[Scalar]
"""A field of n candidates: numbers, NaN where one is missing, or values as they came, None where one is missing."""


@dataclass(frozen=True, slots=True)
class ColumnData:
    """Hold the columns of n candidates, all of n rows; a missing number is NaN.

    `features` and `tags` hold arrays of numbers, or values as they came. `embeddings` [n, E] has NaN in the rows of
    candidates without one; None: no candidate has one.
    """

    ids: Sequence[str]
    scores: Mapping[str, Floats]
    price: Floats | None = None
    features: Mapping[str, Column] = field(default_factory=dict)
    embeddings: Floats | Floats32 | None = None
    tags: Mapping[str, Column] = field(default_factory=dict)


class ColumnTable(CandidateTable):
    """Offer candidates that came as columns, such as ``candidates.scores.ctr``."""

    def __init__(self, data: ColumnData) -> None:
        self._data = data
        self._nothing: Floats | None = None

    @property
    def ids(self) -> Sequence[str]:
        return self._data.ids

    def path(self, place: int, field: str) -> str:
        return f"candidates.{field}[{place}]"

    def score(self, name: str) -> Floats:
        found = self._data.scores.get(name)
        return self._missing() if found is None else found

    def score_names(self) -> Iterable[str]:
        return (name for name, column in self._data.scores.items() if not np.isnan(column).all())

    def prices(self) -> Floats:
        return self._missing() if self._data.price is None else self._data.price

    def values(self, name: str, places: Ints) -> list[Scalar]:
        column = self._data.features.get(name)
        if column is None:
            return [None] * len(places)
        if isinstance(column, np.ndarray):
            return _scalars(column[places])
        return [column[place] for place in places.tolist()]

    def has_values(self, name: str, places: Ints) -> bool:
        column = self._data.features.get(name)
        return column is not None and _has_value(column, places)

    def numbers(self, name: str, places: Ints) -> Floats:
        column = self._data.features.get(name)
        if column is None:
            column = self._missing()
        if isinstance(column, np.ndarray):
            numbers: Floats = column[places]
            return numbers
        return super().numbers(name, places)

    def tags(self, name: str) -> Sequence[Scalar]:
        column = self._data.tags.get(name)
        if column is None:
            return [None] * len(self)
        return _scalars(column) if isinstance(column, np.ndarray) else column

    def embeddings(self, places: Ints) -> Floats32:
        if not self.has_embeddings(places):
            return np.zeros((len(places), 1), np.float32)
        rows = self._rows(places)
        rows[np.isnan(rows[:, 0])] = 0
        return unit_rows(rows)

    def has_embeddings(self, places: Ints) -> bool:
        return self._data.embeddings is not None and not np.isnan(self._rows(places)[:, 0]).all()

    def others(self, group: Group, places: Ints, known: frozenset[str], values: int) -> frozenset[str]:  # noqa: ARG002 - looking takes no time here
        columns: Mapping[str, Column] = self._data.features if group == "item" else self._data.scores
        return frozenset(name for name in columns.keys() - known if _has_value(columns[name], places))

    def _missing(self) -> Floats:
        """Return a column [n] in which every number is missing."""
        if self._nothing is None:
            self._nothing = np.full(len(self), np.nan)
        return self._nothing

    def _rows(self, places: Ints) -> Floats:
        """Return embeddings [k, E] as they came, NaN where one is missing."""
        assert self._data.embeddings is not None
        return self._data.embeddings[places].astype(np.float64)


class Float32Error(ValueError):
    """Report bytes that are no finite float32.

    `place` counts the numbers before the first that is not finite, if that is the fault.
    """

    def __init__(self, problem: str, place: int | None = None) -> None:
        super().__init__(problem)
        self.place = place


def read_float32(data: bytes) -> Floats32:
    """Read little-endian float32 [n], as base64 in a request holds them; the array is read-only.

    Raises `Float32Error` for another size, or a number that is not finite; the message says which.
    """
    if len(data) % 4:
        raise Float32Error(f"is base64 of {len(data)} bytes, which is no multiple of 4")
    numbers = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    finite = np.isfinite(numbers)
    if not finite.all():
        place = int(finite.argmin())
        constant = "NaN" if np.isnan(numbers[place]) else "Infinity" if numbers[place] > 0 else "-Infinity"
        raise Float32Error(f"is {constant}; numbers must be finite", place)
    return numbers


def _scalars(column: Floats) -> list[Scalar]:
    """Return numbers as values, None for NaN."""
    return [None if number != number else number for number in column.tolist()]


def _has_value(column: Column, places: Ints) -> bool:
    """Tell whether any of some candidates has a value."""
    if isinstance(column, np.ndarray):
        return not np.isnan(column[places]).all()
    return any(column[place] is not None for place in places.tolist())
