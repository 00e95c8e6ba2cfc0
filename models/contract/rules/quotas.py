"""Count how many of a group a queue may take under caps.

Axis letters: n candidates, k kept candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contract.arrays import Ints
from models.contract.rules.ruling import Constraint, Ruling


def most_in_list(constraint: Constraint, length: int) -> int:
    """Count the most members of a cap that a list holds: limit · ⌈length / window⌉."""
    return constraint.limit * -(-length // constraint.window)


def queue_limits(ruling: Ruling, length: int, places: int) -> dict[int, int]:
    """Return the quotas, by constraint, of a queue of `places` for lists of `length`.

    A queue of another length than the list's has a quota in proportion: then its groups still fill a list.
    """
    limits = {i: max(1, most_in_list(c, length) * places // length) for i, c in _caps(ruling)}
    return {i: limit for i, limit in limits.items() if limit < places}


@dataclass(frozen=True, slots=True)
class Quotas:
    """Hold groups with a quota.

    `groups` [k] are the numbers of each candidate's groups, with −1 for none; `limits` has one number per group.
    """

    groups: Sequence[Sequence[int]]
    limits: Sequence[int]

    @classmethod
    def of_list(cls, ruling: Ruling, kept: Ints, length: int) -> Quotas:
        """Make the quotas of a whole list."""
        return cls.of(ruling, {i: most_in_list(c, length) for i, c in _caps(ruling)}, kept)

    def none(self) -> Quotas:
        """Return the quotas of no group."""
        return Quotas([()] * len(self.groups), [])

    @classmethod
    def of(cls, ruling: Ruling, limits: Mapping[int, int], kept: Ints) -> Quotas:
        """Make quotas of the `limits` by constraint.

        Groups that have no more members than their quota are left out.
        """
        held = ruling.held(kept).tolist()
        binding = [i for i, limit in limits.items() if held[i] > limit]
        if not binding:
            return cls([()] * len(kept), [])
        group_of = np.full(len(held) + 1, -1)  # the last stands for no constraint
        group_of[binding] = np.arange(len(binding))
        groups = group_of[ruling.counted_in[:, kept]]
        groups = groups[(groups >= 0).any(axis=1)]
        return cls(groups.T.tolist(), [limits[i] for i in binding])


def _caps(ruling: Ruling) -> list[tuple[int, Constraint]]:
    """List the constraints that come from caps, with their numbers."""
    return [(i, c) for i, c in enumerate(ruling.constraints) if not c.is_floor]


@dataclass(slots=True)
class Queue:
    """Fill the places of one queue, or of a list, within quotas."""

    quotas: Quotas
    places: int
    held: list[int] = field(default_factory=list)
    _full: set[int] = field(default_factory=set)
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
        for group in self.quotas.groups[candidate]:
            count = self._counts[group] = self._counts.get(group, 0) + 1
            if group >= 0 and count >= self.quotas.limits[group]:
                self._full.add(group)

    def take(self, taken: set[int], most: int) -> None:
        """Take up to `most` of the best within the quotas that nobody has taken."""
        if most <= 0:
            return
        groups, is_open = self.quotas.groups, self._full.isdisjoint
        for best in self._left:  # what was passed over stays so, since quotas only fill
            if best in taken or not is_open(groups[best]):
                continue
            self.put(best)
            taken.add(best)
            most -= 1
            if not most:
                return

    def lift_quotas(self) -> None:
        """Take any candidate from now on."""
        self.quotas = self.quotas.none()
        self._full.clear()
