"""Group the rows of a part by request, and require that a request's rows agree.

Axis letters: n rows, R requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.contract.arrays import Bools, Floats, Ints
from models.datasets.csv import cells
from models.datasets.csv_log.parts import Rows


@dataclass(frozen=True, eq=False)
class Requests:
    """Hold n rows by request; request r has `rows` ``starts[r]`` to ``starts[r + 1]``, and id ``ids[r]``.

    `order` [n] are the places of the rows before they were sorted.
    """

    rows: Rows
    order: Ints
    starts: Ints
    ids: pa.Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def of_row(self) -> Ints:
        """Number the request of each row, [n]."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def sums(self, values: Bools | Floats | Ints) -> Floats:
        """Sum values along the rows of each request, [R]."""
        sums: Floats = np.bincount(self.of_row, weights=values, minlength=len(self)).astype(np.float64)
        return sums

    def agreed(self, column: str, values: pa.Array) -> pa.Array:
        """Return the one value [R] of each request of a column, whose parsed cells are `values` [n].

        Raises `TableError` naming both lines where two rows of a request differ.
        """
        codes = values.dictionary_encode(null_encoding="encode").indices.to_numpy()
        first = np.repeat(self.starts[:-1], np.diff(self.starts))
        wrong = codes != codes[first]
        if wrong.any():
            place = int(wrong.argmax())
            other = int(first[place])
            here, there = (self.rows.text[column][i].as_py()[:40] for i in (place, other))
            beside = f"{self.rows.line(other, place)} of the same request {self._request(place)!r}"
            raise self.rows.error(place, column, f"is {here!r}, but {there!r} in {beside}")
        return values.take(pa.array(self.starts[:-1]))

    def refuse_repeated(self, column: str, values: pa.Array, known: Bools, problem: str) -> None:
        """Raise `TableError` where a request has one of the `known` [n] values twice."""
        codes = values.dictionary_encode().indices.to_numpy().astype(np.int64)
        pairs = self.of_row * (int(codes.max(initial=0)) + 1) + codes
        places = np.flatnonzero(known)
        again = np.ones(len(places), bool)
        again[np.unique(pairs[places], return_index=True)[1]] = False
        if again.any():
            place = int(places[again.argmax()])
            other = int(places[(pairs[places] == pairs[place]).argmax()])
            value = self.rows.text[column][place].as_py()[:40]
            beside = f"in request {self._request(place)!r}, also in {self.rows.line(other, place)}"
            raise self.rows.error(place, column, f"{value!r} {problem} {beside}")

    def _request(self, place: int) -> str:
        return str(self.ids[int(self.of_row[place])])


def group_requests(rows: Rows, column: str, *, whole: bool, position: Floats | None = None) -> Requests:
    """Sort rows by request and then by `position` [n].

    Requests stand in order of appearance, and rows whose position is NaN come last.
    """
    ids = id_values(rows, column, whole=whole).dictionary_encode()
    codes = ids.indices.to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable") if position is None else np.lexsort((position, codes))
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int64)
    return Requests(rows.take(order), order, starts, ids.dictionary)


def id_values(rows: Rows, column: str, *, whole: bool) -> pa.Array:
    """Return the ids of a column, none of which may be empty.

    `whole` reads 33.0 as 33. Raises `TableError`.
    """
    text = rows.text[column]
    missing = cells.empty(text)
    if missing.any():
        raise rows.error(int(missing.argmax()), column, "is empty")
    return cells.without_zero_fraction(text) if whole else text
