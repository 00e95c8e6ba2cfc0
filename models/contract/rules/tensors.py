"""Write a ruling as the inputs of a ruled graph. Zero is neutral in each of them.

So a request without rules runs beside others by zeros alone, and slots can be padded with zeros.

Axis letters: L steps, N slots, G groups, R = L·(L − 1)/2 pairs of a step and a look-back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.contract.arrays import Arrays, Bools, Floats32, Ints
from models.contract.rules.ruling import Constraint, Ruling

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
    """Write the inputs of a ruled graph for the candidates in `slots` [N], −1 where one is empty.

    Constraints that cannot bind among these slots are left out. Of more than `groups` that can, those are kept whose
    slots exceed the limit most, the first given of equals: the graph may break the others, and who reads its order
    checks it with a `Ledger`.
    """
    filled = np.flatnonzero(slots >= 0)
    candidates = slots[filled]
    bars = np.zeros((length, len(slots)), np.float32)
    members = np.zeros((len(slots), groups), np.float32)
    room = np.full((room_rows(length), groups), length, np.float32)
    for group, constraint in enumerate(_most_needed(ruling, candidates, groups)):
        flags = constraint.members[candidates]
        members[filled, group] = flags
        room[:, group], used_up = _room(constraint, ruling, length)
        bars[np.ix_(used_up, filled[flags])] = 1
    _bar_pins(bars, ruling, filled, candidates)
    for step in ruling.pins:
        if step < length:
            room[room_rows(step) : room_rows(step + 1)] = length
    lifts = np.zeros(len(slots), np.float32)
    if ruling.boosts is not None:
        lifts[filled] = ruling.boosts[candidates] - 1
    seen = np.zeros((length, len(slots)), np.float32)
    if ruling.seen is not None:
        steps = min(length, len(ruling.seen))
        seen[:steps, filled] = np.nan_to_num(2 + ruling.seen[:steps, candidates], nan=0.0)
    return {STEP_BARS: bars, MEMBERS: members, ROOM: room, LIFTS: lifts, SEEN: seen}


def _most_needed(ruling: Ruling, candidates: Ints, groups: int) -> list[Constraint]:
    """Leave out constraints that cannot bind among `candidates`, and the least needed of more than `groups`."""
    dealt = set(candidates.tolist())
    elsewhere = [candidate for candidate in ruling.pins.values() if candidate not in dealt]
    excess = []
    for c in ruling.constraints:
        held = int(c.members[candidates].sum()) + int(c.shown.sum()) + int(c.members[elsewhere].sum())
        excess.append(held - c.limit)
    binding = [i for i, over in enumerate(excess) if over > 0]
    kept = sorted(binding, key=lambda i: -excess[i])[:groups]
    return [ruling.constraints[i] for i in sorted(kept)]


def _room(c: Constraint, ruling: Ruling, length: int) -> tuple[Floats32, Bools]:
    """Count the room [R] of a group, and flag the steps [L] at which pins and shown items use it up alone."""
    room = np.full(room_rows(length), length, np.float32)
    barred = np.zeros(length, np.bool_)
    pins = sorted(place for place, candidate in ruling.pins.items() if c.members[candidate])
    shown = [place - len(c.shown) for place in np.flatnonzero(c.shown).tolist()]
    for step in range(length):
        for start in range(max(c.first, step - c.window + 1), min(c.last, step) + 1):
            end = start + c.window
            left = c.limit - sum(start <= p for p in shown) - sum(step < p < end for p in pins)
            back = step - max(start, 0)
            if back:
                row = room_rows(step) + back - 1
                room[row] = min(room[row], left)
            elif left <= 0:
                barred[step] = True
    return room, barred


def _bar_pins(step_bars: Floats32, ruling: Ruling, filled: Ints, candidates: Ints) -> None:
    """Bar pins from all steps but their own, and all others from those steps."""
    for step, pinned in ruling.pins.items():
        slot = filled[candidates == pinned]
        step_bars[:, slot] = 1
        if step < len(step_bars):
            step_bars[step] = 1
            step_bars[step, slot] = 0
