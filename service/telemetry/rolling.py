"""Count the requests of the last half hour in memory that does not grow.

They are counted by the second, and their durations in ranges whose edges lie 4% apart, one of which is the budget. A
quantile is the middle of its range: at most 2% from the duration itself, and on the same side of the budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, log, nan
from time import monotonic
from typing import Final, Self

import numpy as np
from msgspec import Struct

WINDOWS: Final = (60, 300, 1800)
"""Lengths of the windows, in seconds."""

_ROWS: Final = WINDOWS[-1] + 1  # A row for the second that goes on, too.
_STEP: Final = log(1.04)
_SHORTEST, _LONGEST = 1e-5, 1e3  # Seconds; what lies beyond is counted as one of these.
_KINDS: Final = 5
"""Kinds of valid requests: without a list; with one late or in time, and each of the model or not."""


class WindowCounts(Struct, array_like=True, frozen=True):
    """Valid requests of the last `seconds`, of one process or of several.

    `in_time` had a list within the budget. `lists` had one at all, and `own` one that is the model's. `ranges` counts
    durations by the number of their range; range 0 ends with the budget.
    """

    seconds: int
    valid: int
    in_time: int
    lists: int
    own: int
    ranges: dict[int, int]

    def quantile(self, q: float, budget_seconds: float) -> float:
        """Return a quantile of the durations, within 2%; NaN if there were none."""
        rank, seen = ceil(q * (self.valid - 1)), 0
        for place in sorted(self.ranges):
            seen += self.ranges[place]
            if seen > rank:
                return budget_seconds * exp((place - 0.5) * _STEP)
        return nan

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """Add up the same window of several processes."""
        ranges: Counter[int] = Counter()
        for part in parts:
            ranges.update(part.ranges)
        return cls(
            parts[0].seconds,
            sum(part.valid for part in parts),
            sum(part.in_time for part in parts),
            sum(part.lists for part in parts),
            sum(part.own for part in parts),
            dict(ranges),
        )


@dataclass(frozen=True)
class Gathered:
    """The windows of several workers together; not `complete`: of those that answered in time."""

    windows: Sequence[WindowCounts]
    workers: int
    complete: bool


class RollingCounts:
    """Count valid requests by kind, and recent ones by the second of their end.

    Changed from the event loop only. The second that goes on is a list: counting in an array takes 3 times as long.
    """

    def __init__(self, budget_seconds: float) -> None:
        self._budget = budget_seconds
        self._first = _KINDS - _range(_SHORTEST, budget_seconds)
        self._width = self._first + _range(_LONGEST, budget_seconds) + 1
        self._rows = np.zeros((_ROWS, self._width), np.uint32)
        self._now = [0] * self._width
        self._second = int(monotonic())
        self._totals = [0] * _KINDS

    def add(self, seconds: float, *, answered: bool, degraded: bool, ended: float | None = None) -> None:
        """Count one valid request; `answered` with a list, or not.

        It has `ended` at that time of `monotonic`; missing: now.
        """
        kind = 1 + 2 * (seconds <= self._budget) + (not degraded) if answered else 0
        self._totals[kind] += 1
        second = int(monotonic() if ended is None else ended)
        if second > self._second:
            self._advance(second)
        duration = _SHORTEST if seconds < _SHORTEST else min(seconds, _LONGEST)
        place = self._first + ceil(log(duration / self._budget) / _STEP)
        if second == self._second:
            self._now[kind] += 1
            self._now[place] += 1
        elif second > self._second - _ROWS:
            self._rows[second % _ROWS, [kind, place]] += 1

    def totals(self) -> tuple[int, int, int, int]:
        """Return what has been counted since the start: `valid`, `in_time`, `lists`, `own`; from any thread."""
        return _sums(self._totals.copy())

    def window(self, seconds: int) -> WindowCounts:
        """Return what has been counted in a window, and in the second that goes on."""
        self._advance(int(monotonic()))
        end = self._second % _ROWS  # The row of the second that goes on is still empty.
        first = end - seconds
        counts = np.array(self._now) + self._rows[max(first, 0) : end].sum(axis=0, dtype=np.int64)
        if first < 0:
            counts += self._rows[first:].sum(axis=0, dtype=np.int64)
        ranges = counts[_KINDS:]
        found = {int(i) + _KINDS - self._first: int(ranges[i]) for i in np.flatnonzero(ranges)}
        return WindowCounts(seconds, *_sums(counts[:_KINDS].tolist()), found)

    def windows(self) -> tuple[WindowCounts, ...]:
        """Return all windows."""
        return tuple(self.window(seconds) for seconds in WINDOWS)

    def _advance(self, second: int) -> None:
        """Keep the counts of the last second; clear the rows up to this one."""
        new = min(second - self._second, _ROWS)
        if new <= 0:
            return
        self._rows[self._second % _ROWS] += np.array(self._now, np.uint32)
        self._now = [0] * self._width
        self._rows[np.arange(second - new + 1, second + 1) % _ROWS] = 0
        self._second = second


def _sums(kinds: Sequence[int]) -> tuple[int, int, int, int]:
    """Return `valid`, `in_time`, `lists`, `own` of counts by kind."""
    refused, late_degraded, late_own, degraded, own = kinds
    in_time = degraded + own
    lists = in_time + late_degraded + late_own
    return refused + lists, in_time, lists, late_own + own


def _range(seconds: float, budget: float) -> int:
    return ceil(log(seconds / budget) / _STEP)
