"""Count jobs by how they ended, and their times, in memory that does not grow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Self

_LEAST: Final = 1e-6
_MOST: Final = 100.0
_STEP: Final = math.log(1.02)
_BINS: Final = math.ceil(math.log(_MOST / _LEAST) / _STEP)


class Histogram:
    """Count seconds in bins, each 2% wide, from a microsecond to 100 seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (_BINS + 1)

    @property
    def count(self) -> int:
        return sum(self._counts)

    def add(self, seconds: float) -> None:
        """Count one time; those outside are counted at the ends."""
        place = int(math.log(seconds / _LEAST) / _STEP) if seconds > _LEAST else 0
        self._counts[min(place, _BINS)] += 1

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]

    def quantile(self, q: float) -> float:
        """Return the middle of the bin in which a quantile lies. Raises `ValueError` without times."""
        wanted, reached = math.ceil(q * self.count), 0
        for place, count in enumerate(self._counts):
            reached += count
            if count and reached >= wanted:
                return _LEAST * math.exp((place + 0.5) * _STEP)
        raise ValueError("no job was answered, so there are no times")

    def to_json(self) -> dict[str, int]:
        """Return the bins that are not empty."""
        return {str(place): count for place, count in enumerate(self._counts) if count}

    @classmethod
    def from_json(cls, table: dict[str, int]) -> Self:
        """Read `to_json`'s form."""
        made = cls()
        for place, count in table.items():
            made._counts[int(place)] = count
        return made


@dataclass
class Tally:
    """Count jobs by how they ended.

    They were answered with what is their own, failed with an error, or got the answer of another (`swapped`) or one
    that is no job's (`wrong`). A job is `lost` that has got nothing when it should have got at least an error. `times`
    are what the answered ones took beside their run, and `runs` their shares of runs: 1/n each for a run of n jobs.
    """

    answered: int = 0
    failed: int = 0
    swapped: int = 0
    wrong: int = 0
    lost: int = 0
    times: Histogram = field(default_factory=Histogram)
    runs: float = 0.0

    @property
    def jobs(self) -> int:
        return self.answered + self.failed + self.bad

    @property
    def settled(self) -> int:
        """Number of jobs but for those that failed.

        Without an engine process jobs fail at once.
        """
        return self.jobs - self.failed

    @property
    def bad(self) -> int:
        """Number of jobs that ended as none may."""
        return self.swapped + self.wrong + self.lost

    def merge(self, other: Tally) -> None:
        """Add another's counts and times."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.times.merge(other.times)
        self.runs += other.runs

    def counts(self) -> dict[str, int]:
        """Return all counts by name."""
        return {name: getattr(self, name) for name in _COUNTS}

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types."""
        return {**self.counts(), "times": self.times.to_json(), "runs": self.runs}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Self:
        """Read `to_json`'s form."""
        return cls(**{**table, "times": Histogram.from_json(table["times"])})


_COUNTS: Final = ("answered", "failed", "swapped", "wrong", "lost")
