"""Count how many of a group a queue may take, so that its candidates make a list within the caps.

Axis letters: n candidates, k kept candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        members = np.array([c.members for c, _ in limited], np.bool_).reshape(len(limited), -1)
        members = members[:, kept] if limited else np.zeros((0, len(kept)), np.bool_)
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
