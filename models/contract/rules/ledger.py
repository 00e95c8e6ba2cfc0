"""Keep count of what a list holds, say which candidates may stand at a place, and fill a list.

Axis letters: n candidates, C constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.contract.arrays import Bools, Ints
from models.contract.rules.ruling import Constraint, Ruling

PINNED = "pinned"
"""What `Ledger.barring` says at a pin's place, and of a candidate that is pinned elsewhere."""

TAKEN = "taken"
"""What `Ledger.barring` says of a candidate that stands in the list or may not be returned."""


class Ledger:
    """Count a growing list against a ruling; pins ahead count before they are reached.

    `relaxed` collects the names of rules that were relaxed, the ruling's own first, each once.
    """

    def __init__(self, ruling: Ruling) -> None:
        self._constraints = ruling.constraints
        self._pins = ruling.pins
        self._length = ruling.length
        self._place = 0
        self._free = ruling.allowed.copy()
        self._free[list(ruling.pins.values())] = False
        self._pinned = frozenset(ruling.pins.values())
        self._relaxed = dict.fromkeys(ruling.relaxed)
        self._ranks = _ranks(ruling.constraints)
        # Per constraint, how many members every window holds: the shown ones and the pins to begin with.
        self._counts = [_counts(constraint, ruling) for constraint in ruling.constraints]

    @property
    def relaxed(self) -> tuple[str, ...]:
        """Name the rules that this list does not keep."""
        return tuple(self._relaxed)

    @property
    def place(self) -> int:
        """Return the next place, from 0."""
        return self._place

    def open(self) -> Bools:
        """Flag the candidates [n] that may stand at the next place with all rules kept; perhaps none."""
        if self._place >= self._length:
            return np.zeros_like(self._free)
        if self._place in self._pins:
            return self._pin()
        free: Bools = self._free & (self._needs() == 0)
        return free

    def settle(self) -> Bools:
        """Flag the candidates [n] that may stand at the next place, at least one, relaxing what must be.

        Floors are relaxed first, then caps from the last given to the first, for this place alone. Raises `ValueError`
        at the list's end.
        """
        if self._place >= self._length:
            raise ValueError(f"the list is full: it has {self._length} places")
        if self._place in self._pins:
            return self._pin()
        needs = self._needs()
        free: Bools = self._free & (needs == needs[self._free].min())
        return free

    def put(self, candidate: int) -> None:
        """Put a candidate at the next place; rules that it breaks there are noted as relaxed.

        Raises `ValueError` if it can stand there under no rules: it is taken, left out, or another is pinned.
        """
        if self._place >= self._length:
            raise ValueError(f"the list is full: it has {self._length} places")
        if self._place in self._pins:
            if self._pins[self._place] != candidate:
                raise ValueError(f"candidate {candidate} cannot stand at place {self._place}, which is pinned")
        elif not self._free[candidate]:
            raise ValueError(f"candidate {candidate} cannot stand at place {self._place}: it is taken or left out")
        else:
            self._free[candidate] = False
            self._count(candidate)
        self._place += 1

    def barring(self, candidate: int) -> str | None:
        """Name the rule that keeps a candidate from the next place; None if it may stand there.

        Of several it is the one that would be relaxed last. `PINNED` and `TAKEN` are no rules' names but may be given.
        """
        if self._place in self._pins:
            return None if self._pins[self._place] == candidate else PINNED
        if not self._free[candidate] or self._place >= self._length:
            return PINNED if candidate in self._pinned else TAKEN
        found = [
            (rank, c.rule)
            for rank, c, counts in zip(self._ranks, self._constraints, self._counts, strict=True)
            if c.members[candidate] and self._is_full(c, counts)
        ]
        return max(found)[1] if found else None

    def _pin(self) -> Bools:
        only = np.zeros_like(self._free)
        only[self._pins[self._place]] = True
        return only

    def _needs(self) -> Ints:
        """Say how far rules must be relaxed for each candidate [n]: 0 not at all, 1 the first to go, and so on."""
        needs = np.zeros(len(self._free), np.int64)
        for rank, c, counts in zip(self._ranks, self._constraints, self._counts, strict=True):
            if self._is_full(c, counts):
                np.maximum(needs, rank, out=needs, where=c.members)
        return needs

    def _count(self, candidate: int) -> None:
        for c, counts in zip(self._constraints, self._counts, strict=True):
            if c.members[candidate]:
                if self._is_full(c, counts):
                    self._relaxed.setdefault(c.rule)
                counts[_windows(c, self._place)] += 1

    def _is_full(self, c: Constraint, counts: Ints) -> bool:
        """Tell whether one more member at the next place would break a window that holds it."""
        return bool((counts[_windows(c, self._place)] >= c.limit).any())


def fill(ledger: Ledger, ranked: Sequence[int], places: int) -> list[int]:
    """Take the next `places` of a list from `ranked` (all candidates, best first), and put them."""
    order = np.asarray(ranked, np.int64)
    taken: list[int] = []
    for _ in range(places):
        best = int(order[ledger.settle()[order].argmax()])
        ledger.put(best)
        taken.append(best)
    return taken


def _windows(c: Constraint, place: int) -> slice:
    """Select the windows that hold a place."""
    return slice(max(0, place - c.window + 1 - c.first), max(0, min(c.last, place) - c.first + 1))


def _counts(c: Constraint, ruling: Ruling) -> Ints:
    """Count the members among shown items and pins in every window."""
    counts = np.zeros(c.last - c.first + 1, np.int64)
    shown = [place - len(c.shown) for place in np.flatnonzero(c.shown).tolist()]
    for place in [*shown, *(p for p, candidate in ruling.pins.items() if c.members[candidate])]:
        counts[_windows(c, place)] += 1
    return counts


def _ranks(constraints: Sequence[Constraint]) -> list[int]:
    """Number the rules in the order in which they are relaxed, from 1: floors, then caps, the last given first."""
    names = list(dict.fromkeys(c.rule for c in constraints))
    floors = [name for name in names if name.startswith("floors")]
    caps = [name for name in names if name not in floors]
    rank = {name: i for i, name in enumerate([*reversed(floors), *reversed(caps)], start=1)}
    return [rank[c.rule] for c in constraints]
