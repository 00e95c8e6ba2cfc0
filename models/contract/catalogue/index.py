"""Find items by hash: in a large segment, or in many small ones at once.

An item's number is its row, counted through all segments; −1: unknown or deleted.

Axis letters: n rows, k ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from models.contract.arrays import Ints
from models.contract.catalogue.lookup import Hashes, find_rows, make_directory
from models.contract.catalogue.segment import Segment

MOST_MERGED: Final = 1_000_000
"""Most rows of segments that are searched as one, which takes 20 bytes of memory for each."""


class Index(Protocol):
    """Offer the numbers of some items."""

    def find(self, wanted: Hashes, found: Ints) -> Ints:
        """Return `found` [k], with the numbers of items that are here put over it."""


class SegmentIndex:
    """Find the items of one segment, whose first row has the number `start`."""

    def __init__(self, segment: Segment, start: int) -> None:
        self._segment, self._start = segment, start

    def find(self, wanted: Hashes, found: Ints) -> Ints:
        rows = find_rows(self._segment.hashes, self._segment.directory, wanted)
        numbers = rows + self._start
        if self._segment.deleted is not None and len(self._segment):
            numbers[self._segment.deleted.take(rows, mode="clip")] = -1
        return np.where(rows >= 0, numbers, found)

    def find_first(self, wanted: Hashes) -> Ints:
        """Return numbers [k] as `find` does where nothing was found before, of the first segment."""
        if self._segment.deleted is None:
            return find_rows(self._segment.hashes, self._segment.directory, wanted)
        return self.find(wanted, np.full(len(wanted), -1))


class MergedIndex:
    """Find the items of several segments, of which the later ones win."""

    def __init__(self, segments: Sequence[Segment], starts: Sequence[int]) -> None:
        newest_first = list(zip(segments, starts, strict=True))[::-1]
        hashes = np.concatenate([segment.hashes for segment, _ in newest_first])
        numbers = np.concatenate([_numbers(segment, start) for segment, start in newest_first])
        self._hashes, first = np.unique(hashes, return_index=True)
        self._numbers = numbers[first]
        self._directory = make_directory(self._hashes)

    def find(self, wanted: Hashes, found: Ints) -> Ints:
        rows = find_rows(self._hashes, self._directory, wanted)
        here = rows >= 0
        return np.where(here, self._numbers.take(rows, mode="clip"), found) if here.any() else found


def make_indexes(segments: Sequence[Segment], starts: Sequence[int]) -> tuple[SegmentIndex, list[Index]]:
    """Return the index of the first segment, and few for the others.

    The last ones are merged, as `MOST_MERGED` allows. The first is as large as all others together, as a rule.
    """
    merged = len(segments)
    while merged > 1 and sum(map(len, segments[merged - 1 :])) <= MOST_MERGED:
        merged -= 1
    first, *others = (SegmentIndex(segment, start) for segment, start in zip(segments, starts, strict=True))
    if len(segments) - merged < 2:
        return first, [*others]
    return first, [*others[: merged - 1], MergedIndex(segments[merged:], starts[merged:])]


def _numbers(segment: Segment, start: int) -> Ints:
    """Number the rows [n] of a segment, −1 for tombstones."""
    numbers = np.arange(start, start + len(segment))
    return numbers if segment.deleted is None else np.where(segment.deleted, -1, numbers)
