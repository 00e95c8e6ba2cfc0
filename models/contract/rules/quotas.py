"""Count how many of a group a queue may take, so that its candidates make a list within the caps.

Axis letters: n candidates, k kept candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import Ints
from models.contract.rules.ruling import Constraint, Ruling


def is_floor(constraint: Constraint) -> bool:
    """Tell whether a constraint comes from a floor: its members are those that the floor does not want."""
    return constraint.rule.startswith("floors")


def most_in_list(constraint: Constraint, length: int) -> int:
    """Count the most members of a cap that windows side by side let into a list: limit · ⌈length / window⌉."""
    return constraint.limit * -(-length // constraint.window)


@dataclass(frozen=True, slots=True)
class Quotas:
    """Hold groups with a quota: `masks` [k] has one bit per group of a candidate, `limits` one number per group."""

    masks: list[int]
    limits: list[int]

    @classmethod
    def of(cls, ruling: Ruling, kept: Ints, length: int, places: int) -> Quotas:
        """Make the quotas of a queue of `places` for lists of `length`.

        A queue of another length than the list's has a quota in proportion: then its groups still fill a list.
        """
        found = [(c, max(1, most_in_list(c, length) * places // length)) for c in _caps(ruling)]
        return cls._of([(c, limit) for c, limit in found if limit < places], kept)

    @classmethod
    def of_list(cls, ruling: Ruling, kept: Ints, length: int) -> Quotas:
        """Make the quotas of a whole list."""
        return cls._of([(c, most_in_list(c, length)) for c in _caps(ruling)], kept)

    def none(self) -> Quotas:
        """Return the quotas of no group."""
        return Quotas([0] * len(self.masks), [])

    def groups(self, candidate: int) -> list[int]:
        """List the groups of a candidate."""
        mask, found = self.masks[candidate], []
        while mask:
            lowest = mask & -mask
            found.append(lowest.bit_length() - 1)
            mask ^= lowest
        return found

    @classmethod
    def _of(cls, limited: list[tuple[Constraint, int]], kept: Ints) -> Quotas:
        """Leave out groups that have no more members than their quota."""
        if not limited:
            return cls([0] * len(kept), [])
        members = np.array([c.members for c, _ in limited], np.bool_)[:, kept]
        limits = np.array([limit for _, limit in limited], np.int64)
        binding = np.flatnonzero(members.sum(axis=1) > limits)
        if not len(binding):
            return cls([0] * len(kept), [])
        packed = np.packbits(members[binding], axis=0, bitorder="little").T
        width, data = packed.shape[1], packed.tobytes()
        masks = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
        return cls(masks, limits[binding].tolist())


def _caps(ruling: Ruling) -> list[Constraint]:
    return [c for c in ruling.constraints if not is_floor(c)]


@dataclass(slots=True)
class Queue:
    """Fill the places of one queue, or of a list, within quotas."""

    quotas: Quotas
    places: int
    held: list[int] = field(default_factory=list)
    _full: int = 0
    _counts: dict[int, int] = field(default_factory=dict)
    _left: Iterator[int] = field(default_factory=lambda: iter(()))

    @property
    def room(self) -> int:
        """Count the empty places."""
        return self.places - len(self.held)

    def offer(self, order: Iterable[int]) -> None:
        """Take from these candidates, best first, from now on."""
        self._left = iter(order)

    def put(self, candidate: int) -> None:
        """Put a candidate, and close the groups whose quota it fills."""
        self.held.append(candidate)
        for group in self.quotas.groups(candidate):
            count = self._counts[group] = self._counts.get(group, 0) + 1
            if count >= self.quotas.limits[group]:
                self._full |= 1 << group

    def take(self, taken: set[int], most: int) -> None:
        """Take up to `most` of the best within the quotas that nobody has taken."""
        if most <= 0:
            return
        masks = self.quotas.masks
        for best in self._left:  # what was passed over stays so, since quotas only fill
            if best in taken or masks[best] & self._full:
                continue
            self.put(best)
            taken.add(best)
            most -= 1
            if not most:
                return

    def lift_quotas(self) -> None:
        """Take any candidate from now on."""
        self.quotas = self.quotas.none()
        self._full = 0
