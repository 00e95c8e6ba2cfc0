"""Count the lists of a file, what was shown and what happened, split by split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, get_args

import numpy as np
import pyarrow.compute as pc

from models.contract.arrays import Bools, Ints
from models.data.records import Split
from models.data.windows import ListWindow

SPLITS: Final[tuple[Split, ...]] = get_args(Split)
_LONGEST: Final = 100_000
"""Lengths above this are counted as this."""


@dataclass(slots=True)
class Counts:
    """Hold counts of lists; `purchases` and `gmv` are of the lists that record them."""

    lists: int = 0
    candidates: int = 0
    shown: int = 0
    clicks: int = 0
    purchases: int = 0
    gmv: float = 0.0
    lists_with_purchases_recorded: int = 0
    lists_with_gmv_recorded: int = 0
    lists_with_nothing_shown: int = 0
    lists_with_one_shown: int = 0
    lists_with_all_shown: int = 0
    lists_with_first_shown: int = 0
    lists_without_click: int = 0
    purchases_without_click: int = 0
    purchases_without_gmv: int = 0
    gmv_without_purchase: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Lengths:
    """Count how many lists have each length."""

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(1, np.int64)

    def add(self, lengths: Ints) -> None:
        """Count lengths."""
        new = np.bincount(np.minimum(lengths, _LONGEST), minlength=len(self._counts))
        new[: len(self._counts)] += self._counts
        self._counts = new

    def extend(self, other: Lengths) -> None:
        """Count the lengths of another."""
        longer, shorter = sorted((self._counts, other._counts), key=len, reverse=True)
        self._counts = longer.copy()
        self._counts[: len(shorter)] += shorter

    def quantile(self, share: float) -> int:
        """Return a quantile of the lengths by its share; 0 without lists."""
        totals = np.cumsum(self._counts)
        return int(np.searchsorted(totals, share * totals[-1])) if totals[-1] else 0

    @property
    def longest(self) -> int:
        """Return the longest length."""
        return int(np.flatnonzero(self._counts).max(initial=0))


def counts_by_split(window: ListWindow) -> Mapping[Split, Counts]:
    """Count the lists of a window by split."""
    per_list = _per_list(window)
    return {split: _total(per_list, is_split(window, split)) for split in SPLITS}


def is_split(window: ListWindow, split: Split) -> Bools:
    """Tell which lists belong to a split, [n]."""
    same: Bools = pc.equal(window.splits, split).to_numpy(zero_copy_only=False).astype(bool)
    return same


def _per_list(window: ListWindow) -> Mapping[str, np.ndarray]:
    """Compute each of `Counts` for every list, [n]."""
    clicks, purchases, gmv = window.labels.T
    candidates, shown = np.diff(window.starts), window.shown_counts
    gmv_known = np.repeat(window.observed[:, 2], shown)
    clicked = _sums(clicks, window.shown_starts)
    return {
        "lists": np.ones(len(window), np.int64),
        "candidates": candidates,
        "shown": shown,
        "clicks": clicked,
        "purchases": _sums(purchases, window.shown_starts),
        "gmv": _sums(gmv, window.shown_starts),
        "lists_with_purchases_recorded": window.observed[:, 1],
        "lists_with_gmv_recorded": window.observed[:, 2],
        "lists_with_nothing_shown": shown == 0,
        "lists_with_one_shown": shown == 1,
        "lists_with_all_shown": (shown == candidates) & (shown > 0),
        "lists_with_first_shown": _sums(window.exposed == 0, window.shown_starts),
        "lists_without_click": clicked == 0,
        "purchases_without_click": _sums((purchases > 0) & (clicks == 0), window.shown_starts),
        "purchases_without_gmv": _sums((purchases > 0) & (gmv == 0) & gmv_known, window.shown_starts),
        "gmv_without_purchase": _sums((gmv > 0) & (purchases == 0), window.shown_starts),
    }


def _sums(values: np.ndarray, starts: Ints) -> np.ndarray:
    """Sum the spans of `values` between `starts` [n + 1]."""
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    sums: np.ndarray = np.bincount(owners, values, minlength=len(starts) - 1)
    return sums


def _total(per_list: Mapping[str, np.ndarray], chosen: Bools) -> Counts:
    totals = {name: values[chosen].sum() for name, values in per_list.items()}
    return Counts(**{name: float(n) if name == "gmv" else int(n) for name, n in totals.items()})  # type: ignore[arg-type]
