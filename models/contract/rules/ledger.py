"""Count what a list holds, say which candidates may stand next, and fill a list.

Axis letters: n candidates, C constraints, L places of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Ints
from models.contract.rules.ruling import Ruling

PINNED: Final = "pinned"
"""`Ledger.barring` of all others at a pin's place, and of a pinned candidate elsewhere."""

TAKEN: Final = "taken"
"""`Ledger.barring` of a candidate that stands in the list already or may not be returned, and past the list's end."""


class Ledger:
    """Count a growing list against a ruling; pins ahead count before they are reached.

    `relaxed` collects the names of rules that were relaxed, the ruling's own first, each once.
    """

    def __init__(self, ruling: Ruling) -> None:
        self._constraints, self._pins = ruling.constraints, ruling.pins
        self._place, self._length = 0, ruling.length
        self._pinned = list(ruling.pins.values())
        self._free = ruling.allowed.copy()
        self._free[self._pinned] = False
        self._relaxed = dict.fromkeys(ruling.relaxed)
        self._of = _constraints_of(ruling)
        # [C + 1, L]: places where one more member would break a window; the last row, of no constraint, stays unset.
        self._shut = np.zeros((len(ruling.constraints) + 1, ruling.length), np.bool_)
        # The windows' counts are kept where there are any.
        self._counts: dict[int, Ints] = {}
        self._ranks: Ints | None = None
        self._count_what_is_there()

    @property
    def relaxed(self) -> tuple[str, ...]:
        """Name the rules that this list does not keep."""
        return tuple(self._relaxed)

    @property
    def place(self) -> int:
        """Return the next place, from 0."""
        return self._place

    def open(self) -> Bools:
        """Flag the candidates [n] that may stand next with all rules kept; perhaps none."""
        if self._place >= self._length:
            return np.zeros_like(self._free)
        if self._place in self._pins:
            return self._pin()
        shut = self._shut[:, self._place]
        return np.greater(self._free, shut[self._of].any(axis=1)) if shut.any() else self._free.copy()

    def settle(self) -> Bools:
        """Flag the candidates [n] that may stand next, at least one, relaxing what must be.

        Floors are relaxed first, then caps from the last given to the first, for this place alone. Raises `ValueError`
        at the list's end.
        """
        self._check_end()
        found = self.open()
        if found.any():
            return found
        # How far rules must be relaxed for each candidate: to the last to go of those that bar it.
        needs = (self._shut[:, self._place] * self._relaxing_ranks())[self._of].max(axis=1)
        least: Bools = self._free & (needs == needs[self._free].min())
        return least

    def put(self, candidate: int) -> None:
        """Put a candidate at the next place, and note the rules that it breaks there.

        Raises `ValueError` if it can stand there under no rules: it is taken, left out, or another is pinned.
        """
        self._check_end()
        if self._place in self._pins:
            if self._pins[self._place] != candidate:
                raise ValueError(f"candidate {candidate} cannot stand at place {self._place}, which is pinned")
        elif not self._free[candidate]:
            raise ValueError(f"candidate {candidate} cannot stand at place {self._place}: it is taken or left out")
        else:
            self._free[candidate] = False
            for i in self._own(candidate):
                if self._shut[i, self._place]:
                    self._relaxed.setdefault(self._constraints[i].rule)
                self._count(i, self._place)
        self._place += 1

    def barring(self, candidate: int) -> str | None:
        """Name the rule that keeps a candidate from the next place, or return None.

        Of several it is the one that would be relaxed last. `PINNED` and `TAKEN` stand for what no cap or floor does.
        """
        if self._pins.get(self._place, candidate) != candidate:
            return PINNED
        if self._place in self._pins:
            return None
        if self._place >= self._length or not self._free[candidate]:
            return PINNED if candidate in self._pinned else TAKEN
        found = [i for i in self._own(candidate) if self._shut[i, self._place]]
        return self._constraints[max(found, key=self._relaxing_ranks().item)].rule if found else None

    def _own(self, candidate: int) -> list[int]:
        """Number the constraints of which a candidate is a member."""
        return [i for i in self._of[candidate].tolist() if i < len(self._constraints)]

    def _check_end(self) -> None:
        if self._place >= self._length:
            raise ValueError(f"the list has {self._length} places, which are all taken")

    def _pin(self) -> Bools:
        only = np.zeros_like(self._free)
        only[self._pins[self._place]] = True
        return only

    def _count_what_is_there(self) -> None:
        """Count the shown items and the pins."""
        for i, c in enumerate(self._constraints):
            if c.limit <= 0:  # a floor that needs every place
                self._shut[i, : c.window] = True
            if len(c.shown):
                for place in np.flatnonzero(c.shown).tolist():
                    self._count(i, place - len(c.shown))
        for place, candidate in self._pins.items():
            for i in self._own(candidate):
                self._count(i, place)

    def _count(self, i: int, place: int) -> None:
        """Count one more member at a place, and shut the windows that it fills."""
        c = self._constraints[i]
        low, high = max(c.first, place - c.window + 1), min(c.last, place)
        if low > high:
            return
        if (counts := self._counts.get(i)) is None:
            counts = self._counts[i] = np.zeros(c.last - c.first + 1, np.int64)
        windows = counts[low - c.first : high - c.first + 1]
        windows += 1
        full = np.flatnonzero(windows >= c.limit)
        if len(full):  # all of them hold the place, so together they have no gap
            first, last = low + int(full[0]), low + int(full[-1])
            self._shut[i, max(first, 0) : max(last + c.window, 0)] = True

    def _relaxing_ranks(self) -> Ints:
        """Number the constraints [C + 1] by when they are relaxed, from 1; 0 for none.

        Floors go first, then caps, each from the last given to the first.
        """
        if self._ranks is None:
            names = list(dict.fromkeys(c.rule for c in self._constraints))
            floors = [name for name in names if name.startswith("floors")]
            caps = [name for name in names if name not in floors]
            ranks = {name: i for i, name in enumerate([*reversed(floors), *reversed(caps)], start=1)}
            self._ranks = np.array([*(ranks[c.rule] for c in self._constraints), 0], np.int64)
        return self._ranks


def _constraints_of(ruling: Ruling) -> Ints:
    """Number the constraints of every candidate [n, most], C where it has fewer than most.

    A candidate is in one group of each cap at most, so these are few where constraints are thousands.
    """
    n, most = len(ruling.allowed), len(ruling.constraints)
    found = [np.flatnonzero(c.members) for c in ruling.constraints]
    candidates = np.concatenate([*found, np.zeros(0, np.int64)])
    order = np.argsort(candidates, kind="stable")
    counts = np.bincount(candidates, minlength=n)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n, max(1, int(counts.max(initial=0)))), most)
    numbers = np.repeat(np.arange(most), [len(members) for members in found])
    table[candidates[order], np.arange(len(candidates)) - starts] = numbers[order]
    return table


def fill(ledger: Ledger, ranked: Sequence[int], places: int) -> list[int]:
    """Put the best of `ranked` that may stand at each of the next `places`.

    `ranked` holds all candidates, best first. Rules are relaxed where they must be, as `Ledger.settle` does. Raises
    `ValueError` if the list has fewer places left.
    """
    order = np.asarray(ranked, np.int64)
    taken: list[int] = []
    for _ in range(places):
        best = int(order[ledger.settle()[order].argmax()])
        ledger.put(best)
        taken.append(best)
    return taken
