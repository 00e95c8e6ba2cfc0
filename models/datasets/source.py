"""Hold the records of a data source, and summarise them while they are written."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata

from models.data.records import ListRecord


@dataclass(frozen=True, slots=True)
class ListSource:
    """Hold records (read once), their `total` for a progress bar, and the file's metadata.

    `rows` reads some rows alone, where a source can: the same records each time, in any process that it is sent to.
    """

    records: Iterator[ListRecord]
    total: int
    metadata: Mapping[str, Any]
    rows: Callable[[range], Iterator[ListRecord]] | None = None


@dataclass(slots=True)
class Summary:
    """Count the records that pass through `watch`, and rank their clicks by prior ``ctr``."""

    splits: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    exposed: int = 0
    clicks: int = 0
    purchases: int | None = None
    longest: int = 0
    # Arrays of numbers: a log of millions of lists has tens of millions of items.
    _gmv: array[float] = field(default_factory=lambda: array("d"))
    _labels: array[int] = field(default_factory=lambda: array("b"))
    _scores: array[float] = field(default_factory=lambda: array("d"))
    _within: array[float] = field(default_factory=lambda: array("d"))

    def watch(self, records: Iterable[ListRecord]) -> Iterator[ListRecord]:
        """Pass records on unchanged, counting them."""
        for record in records:
            self._add(record)
            yield record

    def extend(self, other: Summary) -> None:
        """Count the records of another summary too, as those that follow."""
        self.splits.update(other.splits)
        self.candidates += other.candidates
        self.exposed += other.exposed
        self.longest = max(self.longest, other.longest)
        self.clicks += other.clicks
        if other.purchases is not None:
            self.purchases = (self.purchases or 0) + other.purchases
        self._gmv.extend(other._gmv)
        self._labels.extend(other._labels)
        self._scores.extend(other._scores)
        self._within.extend(other._within)

    @property
    def gmv(self) -> float:
        """Add up the GMV of all lists, in their order."""
        return sum(self._gmv)

    def text(self) -> str:
        """Format the summary in a few lines for the terminal."""
        lists = sum(self.splits.values())
        splits = ", ".join(f"{self.splits[s]} {s}" for s in ("train", "valid", "test"))
        bought = "purchases not recorded"
        if self.purchases is not None:
            bought = f"{self.purchases / lists:.3f} purchases, GMV {self.gmv / lists:.2f}"
        within = float(np.mean(self._within)) if self._within else None
        return (
            f"{lists} lists ({splits})\n"
            f"per list: {self.candidates / lists:.1f} candidates, {self.exposed / lists:.1f} exposed "
            f"(longest {self.longest}), {self.clicks / lists:.3f} clicks, {bought}\n"
            f"prior ctr on clicks of exposed items: AUC "
            f"{_text(_auc(self._labels, self._scores))}, within lists {_text(within)}"
        )

    def _add(self, record: ListRecord) -> None:
        self.splits[record.split] += 1
        self.candidates += len(record.candidates)
        self.exposed += len(record.exposed)
        self.longest = max(self.longest, len(record.exposed))
        self.clicks += sum(record.clicks)
        if record.purchases is not None:
            self.purchases = (self.purchases or 0) + sum(record.purchases)
        if record.gmv is not None:
            self._gmv.append(sum(record.gmv))
        scored = [record.candidates[i].scores.get("ctr") for i in record.exposed]
        scores = [s for s in scored if s is not None]
        if len(scores) == len(scored):
            self._labels.extend(record.clicks)
            self._scores.extend(scores)
            within = _auc(record.clicks, scores)
            self._within.extend([] if within is None else [within])


def _auc(labels: Sequence[int], scores: Sequence[float]) -> float | None:
    """Compute the AUC of scores by their ranks (Mann and Whitney); None with one label."""
    clicked = np.array(labels) == 1
    pairs = int(clicked.sum()) * int((~clicked).sum())
    if not pairs:
        return None
    above = rankdata(scores)[clicked].sum() - clicked.sum() * (clicked.sum() + 1) / 2
    return float(above / pairs)


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
