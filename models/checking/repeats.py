"""Find requests that come twice, and users on both sides of a split."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pyarrow as pa

from models.checking.counts import SPLITS, is_split
from models.checking.hashing import Hashes, Sketch, column_hashes, mix, sequence_hashes
from models.data.records import Split
from models.data.windows import ListWindow

_KEPT: Final = 1 << 17
_ID: Final = re.compile(r"((^|[_\-. ])(id|uid|uuid|guid|cookie|session)|[a-z]I[dD]|^(user|member|customer|visitor)id)$")


def is_id_name(name: str) -> bool:
    """Tell whether a field's name says that it holds an id."""
    return _ID.search(name) is not None


class RequestTally:
    """Count requests whose user, context, candidates and shown list came before, whatever their id."""

    def __init__(self) -> None:
        self._sketch = Sketch(_KEPT)

    def add(self, window: ListWindow) -> None:
        """Count the requests of a window."""
        self._sketch.add(_request_hashes(window))

    def extend(self, other: RequestTally) -> None:
        """Count the requests of another tally too."""
        self._sketch.extend(other._sketch)

    @property
    def repeated_share(self) -> float:
        """Compute the share of requests that came before."""
        return self._sketch.repeated_share


class UserTally:
    """Count the users of each split by the user fields that are named like ids."""

    def __init__(self) -> None:
        self._sketches: dict[str, dict[Split, Sketch]] = {}

    def add(self, window: ListWindow) -> None:
        """Count the users of a window."""
        for name in filter(is_id_name, window.user):
            column = window.user[name]
            known = column.is_valid().to_numpy(zero_copy_only=False)
            hashes = column_hashes(column)
            for split, sketch in self._of(name).items():
                sketch.add(hashes[known & is_split(window, split)])

    def extend(self, other: UserTally) -> None:
        """Count the users of another tally too."""
        for name, sketches in other._sketches.items():
            for split, sketch in self._of(name).items():
                sketch.extend(sketches[split])

    def distinct(self, name: str, split: Split) -> int:
        """Count, or estimate, the users of a split."""
        return self._sketches[name][split].distinct

    def overlaps(self) -> dict[str, float]:
        """Map each id field to the share of test users who are in training too."""
        return {name: sketches["test"].share_within(sketches["train"]) for name, sketches in self._sketches.items()}

    def _of(self, name: str) -> dict[Split, Sketch]:
        return self._sketches.setdefault(name, {split: Sketch(_KEPT) for split in SPLITS})


def _request_hashes(window: ListWindow) -> Hashes:
    """Hash each list's user, context, candidates with scores and price, and shown order, [n]."""
    items = window.candidates
    parts = [("id", items.ids), ("price", items.price), *((f"scores.{k}", v) for k, v in items.scores.items())]
    item_hashes = np.zeros(len(items), np.uint64)
    for name, column in parts:
        item_hashes = item_hashes + _named_hashes(name, column)
    hashes = sequence_hashes(item_hashes, window.starts)
    hashes = hashes + mix(sequence_hashes(window.exposed.view(np.uint64), window.shown_starts))
    for group, columns in (("user", window.user), ("context", window.context)):
        for name, column in columns.items():
            hashes = hashes + _named_hashes(f"{group}.{name}", column)
    return hashes


def _named_hashes(name: str, column: pa.Array) -> Hashes:
    """Hash values with their column's name; null is 0, like an absent column."""
    hashes = mix(column_hashes(column) ^ column_hashes(pa.array([name]))[0])
    hashes[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return hashes
