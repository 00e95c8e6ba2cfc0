"""Split lists into train, valid and test.

All lists of a unit (a session, a user or a single request) are on one side. With times, test is the end of the log:
units stand in the order of their last list, and the last of them that hold the share asked for are test, those before
valid. Without times, units are split by hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
import pyarrow as pa

from models.contract.arrays import Floats, Ints
from models.data.records import Split
from models.datasets.splits import share_split

SPLITS: Final = get_args(Split)


@dataclass(frozen=True, slots=True)
class Shares:
    """Hold the shares of lists that are held out."""

    valid: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if not (self.valid >= 0 and self.test >= 0 and self.valid + self.test < 1):  # NaN is refused, too.
            raise ValueError(
                f"--valid {self.valid:g} and --test {self.test:g} must be at least 0 and leave something for train"
            )


@dataclass(slots=True)
class SideChooser:
    """Collect the unit and time of every list, part by part, then choose sides."""

    units: list[pa.Array] = field(default_factory=list)
    times: list[Floats] = field(default_factory=list)

    def add(self, units: pa.Array, times: Floats | None) -> None:
        """Add the lists of one part."""
        self.units.append(units)
        if times is not None:
            self.times.append(times)

    def choose(self, shares: Shares, *, seed: int) -> list[Ints]:
        """Return the places in `SPLITS` of each part's lists."""
        encoded = pa.chunked_array(self.units).combine_chunks().dictionary_encode()
        unit = encoded.indices.to_numpy().astype(np.int64)
        if self.times:
            side = sides_by_time(unit, np.concatenate(self.times), shares)
        else:
            sides = [share_split(u, seed=seed, valid=shares.valid, test=shares.test) for u in _words(encoded)]
            side = np.array([SPLITS.index(s) for s in sides], np.int64)
        ends = np.cumsum([len(part) for part in self.units])
        return np.split(side[unit], ends[:-1])


def sides_by_time(unit: Ints, time: Floats, shares: Shares) -> Ints:
    """Choose the side of every unit by the time of its last list.

    `unit` and `time` run along the lists. A unit is on the side on which the middle of its lists falls.
    """
    count = int(unit.max()) + 1
    sizes = np.bincount(unit, minlength=count)
    last = np.full(count, -np.inf)
    np.maximum.at(last, unit, time)
    order = np.argsort(last, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]
    left = 1 - (before + sizes[order] / 2) / len(unit)
    side = np.empty(count, np.int64)
    side[order] = np.where(left < shares.test, 2, np.where(left < shares.test + shares.valid, 1, 0))
    return side


def _words(encoded: pa.DictionaryArray) -> Sequence[str]:
    words: Sequence[str] = encoded.dictionary.to_pylist()
    return words
