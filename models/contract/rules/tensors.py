"""Write a ruling as the inputs of a ruled graph. Zero is neutral in each of them.

So a request without rules runs beside others by zeros alone, and slots can be padded with zeros.

Axis letters: L steps, N slots, G groups, R = L·(L − 1)/2 pairs of a step and a look-back.
"""

from __future__ import annotations

from typing import Final

from models.contract.arrays import Arrays, Ints
from models.contract.rules.ruling import Ruling

STEP_BARS: Final = "step_bars"
"""Float32 [L, N]: 1 where a slot may not stand at a step, by pins, or by shown items and pins ahead alone."""

MEMBERS: Final = "members"
"""Float32 [N, G]: 1 where a slot is in a group."""

ROOM: Final = "room"
"""Float32 [R, G]: how many the last w picks before step t may hold of a group, for one more to be taken.

Row t·(t − 1)/2 + w − 1 is that of step t = 1 … L − 1 and look-back w = 1 … t. The window that reaches back w steps from
t is counted, less the shown items in it and the group's pins behind t in it; pins before t count as picks. A group is
barred where its picks have reached the room. At the step of a pin the room is L: a pin is never barred.
"""

LIFTS: Final = "lifts"
"""Float32 [N]: a slot's boost, less 1."""

SEEN: Final = "seen"
"""Float32 [L, N]: 2 + the largest cosine to the shown items that MMR still looks back on at a step; 0: none."""

RULE_INPUTS: Final = (STEP_BARS, MEMBERS, ROOM, LIFTS, SEEN)

GROUPS: Final = 32
"""Groups of a bundle's ruled graph."""


def room_rows(length: int) -> int:
    """Count the pairs of a step and a look-back."""
    return length * (length - 1) // 2


def rule_tensors(ruling: Ruling, slots: Ints, *, length: int, groups: int) -> Arrays:
    """Write the inputs of a ruled graph for the candidates in `slots` [N], −1 where one is empty."""
    raise NotImplementedError
