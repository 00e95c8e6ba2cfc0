"""Read the tensors of rules one number at a time: slow, obviously right.

The references ask it at every step; `models/contract/rules/tensors.py` says what the tensors mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.contract.arrays import AnyArray
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, RULE_INPUTS, SEEN, STEP_BARS


@dataclass(frozen=True, slots=True)
class StepRules:
    """Hold one request's tensors, without a batch axis."""

    step_bars: AnyArray
    members: AnyArray
    room: AnyArray
    lifts: AnyArray
    seen: AnyArray

    @classmethod
    def of(cls, request: Mapping[str, AnyArray]) -> StepRules | None:
        """Take the tensors of a batch of one; None if it has none."""
        if not set(RULE_INPUTS) <= request.keys():
            return None
        return cls(*(request[name][0] for name in (STEP_BARS, MEMBERS, ROOM, LIFTS, SEEN)))

    def bars(self, chosen: Sequence[int], slot: int) -> bool:
        """Tell whether `slot` may not follow the chosen slots."""
        t = len(chosen)
        if self.step_bars[t, slot] > 0:
            return True
        first = t * (t - 1) // 2
        for back in range(1, t + 1):
            for group in np.flatnonzero(self.members[slot]):
                held = sum(int(self.members[other, group]) for other in chosen[t - back :])
                if held >= self.room[first + back - 1, group]:
                    return True
        return False

    def boost(self, slot: int) -> float:
        """Return the factor of a slot's worth."""
        return 1.0 + float(self.lifts[slot])

    def seen_cosine(self, t: int, slot: int) -> float | None:
        """Return the largest cosine to the shown items at step `t`, or None."""
        seen = float(self.seen[t, slot])
        return seen - 2.0 if seen > 0 else None
