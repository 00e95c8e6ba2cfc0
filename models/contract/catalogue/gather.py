"""Find items in the segments of a catalogue, and gather their rows.

The newest segment wins. An item's number is its row, counted through all segments; −1: unknown or deleted.

Axis letters: k items that are asked for, C categorical columns, F number columns, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.catalogue.index import make_indexes
from models.contract.catalogue.lookup import Hashes
from models.contract.catalogue.segment import Segment, read_values
from models.contract.scalars import Scalar

Pick = Callable[[Segment], NDArray[Any] | None]
"""Chooses an array of a segment, whose first axis counts its rows."""

_NO_NUMBER: Final = np.array(np.nan)


@dataclass(frozen=True, slots=True)
class Part:
    """Name `rows` of one segment, and `at` which of k places their items stand.

    None: at all of them, in order.
    """

    segment: Segment
    at: Ints | None
    rows: Ints


@dataclass(frozen=True, slots=True)
class Rows:
    """Name the rows of k items, segment by segment.

    An unknown item is in no part.
    """

    size: int
    parts: tuple[Part, ...]

    def gather(self, pick: Pick, missing: NDArray[Any]) -> NDArray[Any]:
        """Gather rows [k, ...] of an array, with `missing` [...] for items that are in none."""
        if len(self.parts) == 1 and self.parts[0].at is None:
            values = pick(self.parts[0].segment)
            if values is not None:
                return values.take(self.parts[0].rows, axis=0)
        found = np.empty((self.size, *missing.shape), missing.dtype)
        found[:] = missing
        for part in self.parts:
            if (values := pick(part.segment)) is not None:
                found[slice(None) if part.at is None else part.at] = values.take(part.rows, axis=0)
        return found

    def values(self, field: int) -> list[Scalar]:
        """Read a field [k] as it came, None where it is missing."""
        found: list[Scalar] = [None] * self.size
        for part in self.parts:
            values = read_values(part.segment.values[field], part.rows)
            if part.at is None:
                return values
            for place, value in zip(part.at.tolist(), values, strict=True):
                found[place] = value
        return found


class Segments:
    """Hold the segments of one version, oldest first; their columns are alike."""

    def __init__(self, segments: Sequence[Segment], embedding_width: int) -> None:
        self._segments = tuple(segments)
        self._starts = np.cumsum([0, *map(len, segments)])[:-1]
        self._first, self._others = make_indexes(segments, self._starts.tolist())
        self.no_columns = np.full(segments[0].rows.shape[1], -1, np.int32)
        self.no_numbers = np.full(segments[0].numbers.shape[1], np.nan)
        self.no_embedding = np.zeros(max(embedding_width, 1), np.float32)
        self.has_embeddings = any(segment.embeddings is not None for segment in segments)

    def find(self, wanted: Hashes) -> Ints:
        """Find the numbers [k] of the items whose ids have the hashes that are `wanted`."""
        found = self._first.find_first(wanted)
        for index in self._others:
            found = index.find(wanted, found)
        return found

    def rows(self, numbers: Ints) -> Rows:
        """Tell which rows of which segments have these numbers [k]."""
        k = len(numbers)
        if len(self._segments) == 1 and k and numbers.min() >= 0:
            return Rows(k, (Part(self._segments[0], None, numbers),))
        of = self._starts.searchsorted(numbers, "right") - 1
        parts = []
        for i in sorted(set(of.tolist()) - {-1}):
            at = np.flatnonzero(of == i)
            parts.append(Part(self._segments[i], None if len(at) == k else at, numbers[at] - self._starts[i]))
        return Rows(k, tuple(parts))


class Known:
    """Offer what the segments have of k items.

    Each array is gathered when it is first asked for.
    """

    def __init__(self, segments: Segments, numbers: Ints) -> None:
        self._segments = segments
        self._rows = segments.rows(numbers)

    @cached_property
    def columns(self) -> Ints:
        """Hold the rows of the embedding table [C, k], −1 where one is missing."""
        columns: Ints = self._rows.gather(lambda s: s.rows, self._segments.no_columns).astype(np.int64).T
        return columns

    @cached_property
    def numbers(self) -> Floats:
        """Hold the spec's own numbers [F, k], NaN where one is missing."""
        numbers: Floats = self._rows.gather(lambda s: s.numbers, self._segments.no_numbers).T
        return numbers

    @cached_property
    def prices(self) -> Floats:
        """Hold the prices [k], NaN where one is missing."""
        return self._rows.gather(lambda s: s.price, _NO_NUMBER)

    @cached_property
    def embeddings(self) -> Floats32:
        """Hold unit rows [k, E ≥ 1], zeros where one is missing."""
        return self._rows.gather(lambda s: s.embeddings, self._segments.no_embedding)

    @cached_property
    def has_embeddings(self) -> bool:
        """Tell whether any item has an embedding."""
        return self._segments.has_embeddings and bool(self.embeddings.any())

    def values(self, field: int) -> list[Scalar]:
        """Read a field [k] as it came, None where it is missing."""
        return self._rows.values(field)
