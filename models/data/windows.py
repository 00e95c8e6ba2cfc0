"""Hold a window of a list file as columns.

Reading a large file makes no Python objects per item.

Axis letters: n lists of the window, m candidates of all lists end to end, k shown items of all lists end to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa

from models.contract.arrays import Bools, Floats, Ints
from models.contract.scalars import Scalar
from models.data.records import Candidate, ListRecord, Split


@dataclass(frozen=True, eq=False)
class ItemColumns:
    """Hold m items as Arrow columns; null stands for what an item lacks.

    `scores` and `price` are float64, `features` text, int64, float64 or bool. `embeddings` are lists of float64, or
    None where they were not read.
    """

    ids: pa.Array
    scores: Mapping[str, pa.Array]
    price: pa.Array
    features: Mapping[str, pa.Array]
    embeddings: pa.Array | None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Ints) -> ItemColumns:
        """Select the items at `rows`, in that order."""
        at = pa.array(rows)
        return ItemColumns(
            self.ids.take(at),
            {name: column.take(at) for name, column in self.scores.items()},
            self.price.take(at),
            {name: column.take(at) for name, column in self.features.items()},
            None if self.embeddings is None else self.embeddings.take(at),
        )


@dataclass(frozen=True, eq=False)
class ListWindow:
    """Hold n lists as columns.

    `source` is the file that messages name, `rows` [n] the lists' row numbers there, from 0. The candidates of list i
    are `candidates` from `starts[i]` to `starts[i + 1]`. The items shown, in order, are `exposed` [k], counted from
    their own list's first candidate, from `shown_starts[i]` to `shown_starts[i + 1]`; `labels` [k, 3] run along them
    (clicks, purchases, gmv; 0 where not recorded) and `observed` [n, 3] says which of those a list records.
    """

    source: str
    rows: Ints
    request_ids: pa.Array
    splits: pa.Array
    user: Mapping[str, pa.Array]
    context: Mapping[str, pa.Array]
    candidates: ItemColumns
    starts: Ints
    exposed: Ints
    shown_starts: Ints
    labels: Floats
    observed: Bools

    def __len__(self) -> int:
        return len(self.request_ids)

    @cached_property
    def shown_counts(self) -> Ints:
        """Count the items shown in each list, [n]."""
        return np.diff(self.shown_starts)

    @cached_property
    def shown_rows(self) -> Ints:
        """Find the items shown among all candidates of the window, [k]."""
        return self.exposed + np.repeat(self.starts[:-1], self.shown_counts)

    @cached_property
    def shown(self) -> ItemColumns:
        """Select the items shown, list after list, [k]."""
        return self.candidates.take(self.shown_rows)

    @cached_property
    def without_embeddings(self) -> ListWindow:
        """Leave the embeddings out."""
        return replace(self, candidates=replace(self.candidates, embeddings=None))

    def take(self, lists: Ints) -> ListWindow:
        """Select whole lists, in that order."""
        at = pa.array(lists)
        candidates, starts = _spans(self.starts, lists)
        shown, shown_starts = _spans(self.shown_starts, lists)
        return replace(
            self,
            rows=self.rows[lists],
            request_ids=self.request_ids.take(at),
            splits=self.splits.take(at),
            user={name: column.take(at) for name, column in self.user.items()},
            context={name: column.take(at) for name, column in self.context.items()},
            candidates=self.candidates.take(candidates),
            starts=starts,
            exposed=self.exposed[shown],
            shown_starts=shown_starts,
            labels=self.labels[shown],
            observed=self.observed[lists],
        )

    def records(self) -> Iterator[ListRecord]:
        """Convert the lists to records, one at a time."""
        users, contexts = _mappings(self.user, len(self)), _mappings(self.context, len(self))
        candidates = _candidates(self.candidates)
        ids, splits = self.request_ids.to_pylist(), self.splits.to_pylist()
        for i in range(len(self)):
            shown = slice(self.shown_starts[i], self.shown_starts[i + 1])
            clicks, purchases, gmv = self.labels[shown].T.tolist()
            yield ListRecord(
                request_id=ids[i],
                candidates=tuple(candidates[self.starts[i] : self.starts[i + 1]]),
                exposed=tuple(self.exposed[shown].tolist()),
                clicks=tuple(map(int, clicks)),
                purchases=tuple(map(int, purchases)) if self.observed[i, 1] else None,
                gmv=tuple(gmv) if self.observed[i, 2] else None,
                user=users[i],
                context=contexts[i],
                split=cast(Split, splits[i]),
            )


def _spans(starts: Ints, lists: Ints) -> tuple[Ints, Ints]:
    """Join the row numbers of the chosen lists' spans; return them and the new starts."""
    counts = np.diff(starts)[lists]
    ends = np.cumsum(counts)
    within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
    return np.repeat(starts[lists], counts) + within, np.concatenate([[0], ends])


def _mappings(columns: Mapping[str, pa.Array], count: int) -> list[dict[str, Scalar]]:
    """Turn columns into one mapping a row, without nulls."""
    values = [column.to_pylist() for column in columns.values()]
    if not values:
        return [{} for _ in range(count)]
    return [{k: v for k, v in zip(columns, row, strict=True) if v is not None} for row in zip(*values, strict=True)]


def _candidates(items: ItemColumns) -> list[Candidate]:
    n = len(items)
    embeddings: Sequence[Any] = [None] * n if items.embeddings is None else items.embeddings.to_pylist()
    scores = cast("list[dict[str, float]]", _mappings(items.scores, n))
    features = _mappings(items.features, n)
    rows = zip(items.ids.to_pylist(), scores, items.price.to_pylist(), features, embeddings, strict=True)
    return [Candidate(i, s, p, f, None if e is None else tuple(e)) for i, s, p, f, e in rows]
