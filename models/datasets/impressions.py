"""Turn a log with one row per shown item into list records.

The items shown are all that there was to choose from, so every row is a candidate and exposed. Rows stand in the order
of requests and, inside one, in the order shown; the order itself is no feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.scalars import Scalar
from models.data.records import Candidate, ListRecord, Split
from models.datasets.table import Table

FeatureColumn = Floats | Sequence[str]
FeatureColumns = Mapping[str, FeatureColumn]


class ColumnMatrix:
    """Columns [n] as a matrix [n, F] of which only the rows asked for are made.

    A log of ten million rows has no room for all of them beside its columns.
    """

    def __init__(self, columns: Sequence[Floats]) -> None:
        self._columns = columns

    def __getitem__(self, rows: Ints) -> Floats:
        matrix = np.empty((len(rows), len(self._columns)))
        for place, column in enumerate(self._columns):
            matrix[:, place] = column[rows]
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Impressions:
    """Hold columns along n rows; request r has rows ``starts[r]`` to ``starts[r + 1]``.

    In `user`, `context` and `item`, text is a category and a float array a number; "" and NaN are missing.
    """

    request_ids: list[str]
    starts: Ints
    item_ids: list[str]
    price: Floats
    clicks: Ints
    purchases: Ints | None = None
    gmv: Floats | None = None
    user: FeatureColumns = field(default_factory=dict)
    context: FeatureColumns = field(default_factory=dict)
    item: FeatureColumns = field(default_factory=dict)

    def along_rows(self, values: Ints) -> Ints:
        """Repeat one value per request along its rows, [n]."""
        return np.repeat(values, np.diff(self.starts))

    def numbers(self) -> ColumnMatrix:
        """Select all columns of numbers, [n, F]."""
        columns = [column for part in (self.user, self.context, self.item) for column in part.values()]
        return ColumnMatrix([column for column in columns if isinstance(column, np.ndarray)])

    def records(
        self, splits: Sequence[Split], scores: Mapping[str, Floats], embeddings: Floats
    ) -> Iterator[ListRecord]:
        """Make the list records. `splits` runs along requests, `scores` and `embeddings` [n, E] along rows."""
        for r, span in enumerate(_spans(self.starts)):
            rows = range(span.start, span.stop)
            yield ListRecord(
                request_id=self.request_ids[r],
                candidates=tuple(self._candidate(i, scores, embeddings) for i in rows),
                exposed=tuple(range(len(rows))),
                clicks=tuple(self.clicks[span].tolist()),
                purchases=None if self.purchases is None else tuple(self.purchases[span].tolist()),
                gmv=None if self.gmv is None else tuple(self.gmv[span].tolist()),
                user=_values(self.user, rows.start),
                context=_values(self.context, rows.start),
                split=splits[r],
            )

    def _candidate(self, row: int, scores: Mapping[str, Floats], embeddings: Floats) -> Candidate:
        return Candidate(
            id=self.item_ids[row],
            scores={name: float(values[row]) for name, values in scores.items()},
            price=float(self.price[row]),
            features=_values(self.item, row),
            embedding=tuple(embeddings[row].tolist()),
        )


def group_rows(requests: Ints, position: Floats) -> tuple[Ints, Ints]:
    """Sort rows by request and position: ``order`` [n] and ``starts`` [R + 1] into it.

    `requests` numbers each row's request, from 0 in order of appearance.
    """
    order: Ints = np.lexsort((position, requests))
    return order, np.concatenate([[0], np.cumsum(np.bincount(requests))]).astype(np.int64)


def check_distinct(table: Table, order: Ints, starts: Ints, column: str) -> None:
    """Raise `TableError` at the first row that repeats a value of `column` inside its request."""
    values = table.codes(column)[order]
    request = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    pairs = request * (int(values.max()) + 1) + values
    again = np.ones(len(pairs), bool)
    again[np.unique(pairs, return_index=True)[1]] = False
    if again.any():
        row = int(order[again.argmax()])
        raise table.error(row, column, f"{table.key(column)[row]!r} stands twice in one list")


def relative(values: Floats, starts: Ints) -> Floats:
    """Subtract the median of their list from `values`, [n]; NaN stays NaN."""
    result = np.full_like(values, np.nan)
    for span in _spans(starts):
        known = values[span][~np.isnan(values[span])]
        if len(known):
            result[span] = values[span] - np.median(known)
    return result


def rank_share(values: Floats, starts: Ints) -> Floats:
    """Compute the share of a list's other items with smaller values, ties half, [n]."""
    result = np.full_like(values, np.nan)
    for span in _spans(starts):
        known = ~np.isnan(values[span])
        part = values[span][known]
        gap = part[:, None] - part
        less = (gap > 0).sum(axis=1) + 0.5 * ((gap == 0).sum(axis=1) - 1)
        result[span][known] = less / (len(part) - 1) if len(part) > 1 else 0.5
    return result


def _spans(starts: Ints) -> Iterator[slice]:
    return (slice(*pair) for pair in pairwise(starts.tolist()))


def _values(columns: FeatureColumns, row: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for name, column in columns.items():
        value = column[row]
        if isinstance(value, str):
            if value:
                found[name] = value
        elif not np.isnan(value):
            found[name] = float(value)
    return found
