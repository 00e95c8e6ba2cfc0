"""Find orders that the shown lists always follow, such as descending by a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from models.contract.arrays import Floats
from models.data.windows import ListWindow


class ExposureTally:
    """Count, per score, the lists whose shown order is the descending order of that score.

    Beside each score and the price it tries the products ``ctr*cvr`` and ``ctr*cvr*price``. Lists that this cannot
    tell anything about are left out: with a missing value, or with no two different values.
    """

    def __init__(self) -> None:
        self.compared: dict[str, int] = {}
        self.followed: dict[str, int] = {}

    def add(self, window: ListWindow) -> None:
        """Compare the shown lists of a window."""
        for name, values in _keys(window):
            self._count(name, *_compare(values, window))

    def extend(self, other: ExposureTally) -> None:
        """Count the lists of another tally too."""
        for name, compared in other.compared.items():
            self._count(name, compared, other.followed[name])

    def share(self, name: str) -> float:
        """Compute the share of the compared lists that follow a score's order."""
        return self.followed[name] / self.compared[name] if self.compared.get(name) else 0.0

    def _count(self, name: str, compared: int, followed: int) -> None:
        self.compared[name] = self.compared.get(name, 0) + compared
        self.followed[name] = self.followed.get(name, 0) + followed


def _keys(window: ListWindow) -> Iterator[tuple[str, Floats]]:
    """Name the values that lists may be ordered by, for the shown items [k]."""
    rows = pa.array(window.shown_rows)

    def values(column: pa.Array) -> Floats:
        numbers: Floats = column.take(rows).cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        return numbers

    columns: Mapping[str, Floats] = {name: values(column) for name, column in window.candidates.scores.items()}
    price = values(window.candidates.price)
    yield from columns.items()
    yield "price", price
    if {"ctr", "cvr"} <= set(columns):
        product = columns["ctr"] * columns["cvr"]
        yield "ctr*cvr", product
        yield "ctr*cvr*price", product * price


def _compare(values: Floats, window: ListWindow) -> tuple[int, int]:
    """Count the lists comparable with the descending order, and those that follow it."""
    owners = np.repeat(np.arange(len(window)), window.shown_counts)
    within = owners[1:] == owners[:-1]
    steps, lists = np.diff(values)[within], owners[1:][within]
    n = len(window)
    rising = np.bincount(lists, steps > 0, n) > 0
    falling = np.bincount(lists, steps < 0, n) > 0
    known = np.bincount(lists, np.isnan(steps), n) == 0
    compared = known & (rising | falling)
    return int(compared.sum()), int((compared & ~rising).sum())
