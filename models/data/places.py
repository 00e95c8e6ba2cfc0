"""Count shown items and their outcomes by the place where they stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from models.contract.arrays import Bools, Floats
from models.data.records import Split
from models.data.windows import ListWindow

LEARNT: Final[tuple[Split, ...]] = ("train", "valid")
"""Splits that a model learns from: weights from one, the choice of epoch and shares from the other."""

_COUNTED: Final = ("shown", "clicks", "purchases")
_LAST: Final = 100_000
"""Places past this one count as this one."""


@dataclass(frozen=True, slots=True)
class PastHorizon:
    """Count what stands past a list length, of which nothing is learnt.

    `past` has the shown items, clicks and purchases past it, `total` all of them.
    """

    list_length: int
    past: Mapping[str, int]
    total: Mapping[str, int]

    def __str__(self) -> str:
        names = {"shown": "shown items", "clicks": "clicks", "purchases": "purchases"}
        *first, last = [f"{self.past[name]:,} of {n:,} {names[name]}" for name, n in self.total.items() if n]
        joined = f"{', '.join(first)} and {last}" if first else last
        return f"{joined} lie past --list-length {self.list_length} and are not learnt from"

    def to_json(self) -> dict[str, Any]:
        """Describe it as plain JSON."""
        return asdict(self)


class PlaceTally:
    """Count shown items, clicks and purchases by place, of the lists that are learnt from."""

    def __init__(self) -> None:
        self._counts: Floats = np.zeros((len(_COUNTED), 1))

    def add(self, window: ListWindow, lists: Bools) -> None:
        """Count the marked `lists` [n] of a window."""
        items = np.repeat(lists, window.shown_counts)
        starts = np.repeat(window.shown_starts[:-1], window.shown_counts)
        places = np.minimum((np.arange(len(starts)) - starts)[items], _LAST)
        weights = (None, *window.labels[items, : len(_COUNTED) - 1].T)
        self._join(np.stack([np.bincount(places, w, minlength=1) for w in weights]).astype(np.float64))

    def extend(self, other: PlaceTally) -> None:
        """Count the places of another tally too."""
        self._join(other._counts)

    def past(self, length: int) -> PastHorizon | None:
        """Sum what stands past the first `length` places; None if nothing does."""
        parts = (self._counts[:, length:], self._counts)
        past, total = (dict(zip(_COUNTED, part.sum(axis=1).astype(int).tolist(), strict=True)) for part in parts)
        return PastHorizon(length, past, total) if past["shown"] else None

    def _join(self, counts: Floats) -> None:
        longer, shorter = sorted((self._counts, counts), key=lambda c: c.shape[1], reverse=True)
        self._counts = longer.copy()
        self._counts[:, : shorter.shape[1]] += shorter
