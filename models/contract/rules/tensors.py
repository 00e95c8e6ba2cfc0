"""Write a ruling as the inputs of a ruled graph.

Zero is neutral in each of them, so a request without rules runs beside others by zeros alone, and slots can be padded
with zeros.

Axis letters: L steps, N slots, G groups, R = L·(L − 1)/2 pairs of a step and a look-back.
"""

from __future__ import annotations

from functools import lru_cache
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
    """Write the inputs of a ruled graph for the candidates in `slots` [N], −1 for empty.

    Constraints that cannot bind among these candidates are left out. Of more than `groups` that can, those are kept
    whose members exceed the limit most, the first given of equals: the graph may break the others, and who reads its
    order checks it with a `Ledger`.
    """
    filled = np.flatnonzero(slots >= 0)
    candidates = slots[filled]
    kept, flags = _binding(ruling, candidates, groups)
    members = np.zeros((len(slots), groups), np.float32)
    members[filled, : len(kept)] = flags.T
    bars = np.zeros((length, len(slots)), np.float32)
    room = np.full((room_rows(length), groups), length, np.float32)
    for group, (c, pins) in enumerate(zip(kept, _pinned_places(ruling, kept), strict=True)):
        room[:, group], used_up = _room(c, pins, length)
        if used_up is not None:
            bars[np.ix_(used_up, filled[flags[group]])] = 1
    _write_pins(bars, room, ruling, slots)
    lifts = np.zeros(len(slots), np.float32)
    if ruling.boosts is not None:
        lifts[filled] = ruling.boosts[candidates] - 1
    seen = np.zeros((length, len(slots)), np.float32)
    if ruling.seen is not None:
        steps = min(length, len(ruling.seen))
        seen[:steps, filled] = np.nan_to_num(2 + ruling.seen[:steps, candidates], nan=0.0)
    return {STEP_BARS: bars, MEMBERS: members, ROOM: room, LIFTS: lifts, SEEN: seen}


def _binding(ruling: Ruling, candidates: Ints, groups: int) -> tuple[list[Constraint], Bools]:
    """Choose at most `groups` constraints that can bind, with their members among `candidates`."""
    excess = ruling.excess(np.union1d(list(ruling.pins.values()), candidates).astype(np.int64))
    excess[ruling.held(candidates) == 0] = 0
    binding = np.flatnonzero(excess > 0)
    if len(binding) > groups:
        binding = np.sort(binding[np.argsort(-excess[binding], kind="stable")[:groups]])
    kept = [ruling.constraints[i] for i in binding.tolist()]
    return kept, np.array([c.members[candidates] for c in kept], np.bool_).reshape(len(kept), len(candidates))


def _pinned_places(ruling: Ruling, kept: list[Constraint]) -> list[list[int]]:
    """Return the places of each constraint's pins."""
    pins = [(place, [c.members[candidate] for c in kept]) for place, candidate in ruling.pins.items()]
    return [[place for place, of in pins if of[i]] for i in range(len(kept))]


@lru_cache
def _look_backs(length: int) -> tuple[Ints, Ints]:
    """Return the step and the start of every row of `ROOM` [R], read-only."""
    steps = np.repeat(np.arange(length), np.arange(length))
    starts = steps - 1 - (np.arange(len(steps)) - steps * (steps - 1) // 2)
    for shared in (steps, starts):
        shared.flags.writeable = False
    return steps, starts


@lru_cache(maxsize=1_024)
def _whole_room(limit: int, window: int, last: int, length: int) -> Floats32:
    """Return the room [R] of a group without pins or shown items, read-only."""
    steps, starts = _look_backs(length)
    counted = (starts <= last) & (steps < starts + window)
    room = np.where(counted, np.float32(limit), np.float32(length))
    room.flags.writeable = False
    return room


def _room(c: Constraint, pins: list[int], length: int) -> tuple[Floats32, Bools | None]:
    """Count the room [R] of a group, and flag steps [L] without any.

    Those are barred by pins ahead and shown items alone, at look-back 0; None if there can be none.
    """
    last = max(c.last, 0)  # what is in the list of a window that begins before it, the one from place 0 holds as well
    room = _whole_room(c.limit, c.window, last, length)
    if c.limit > 0 and not pins and not len(c.shown):
        return room, None
    room = room.copy()
    steps, starts = _look_backs(length)
    for place in pins:
        room[(starts <= last) & (steps < place) & (place < starts + c.window)] -= 1
    places = np.arange(length)
    behind = sum((np.less(places, place) & (place < places + c.window) for place in pins), start=np.zeros(length))
    used_up = (behind >= c.limit) & (places <= last)
    if len(c.shown):
        before = _room_before(c, pins, length)
        used_up[0] |= before[0] <= 0
        whole = np.flatnonzero(starts == 0)
        room[whole] = np.minimum(room[whole], before[1:])
    return room, used_up


def _room_before(c: Constraint, pins: list[int], length: int) -> Ints:
    """Count the least room [L] in windows that begin among the shown items."""
    shown, last = np.flatnonzero(c.shown) - len(c.shown), min(c.last, 0)
    # Of windows that hold the same shown items, the one that begins last reaches furthest and so holds most.
    steps, starts = np.arange(length)[:, None], np.append(shown[shown < last], last)
    held = len(shown) - np.searchsorted(shown, starts)
    left = np.broadcast_to(c.limit - held, (length, len(starts))).copy()
    for place in pins:
        left -= (steps < place) & (place < starts + c.window)
    left[steps >= starts + c.window] = length
    least: Ints = left.min(axis=1)
    return least


def _write_pins(bars: Floats32, room: Floats32, ruling: Ruling, slots: Ints) -> None:
    """Bar pins from all steps but their own, and all others from those."""
    for step, pinned in ruling.pins.items():
        slot = np.flatnonzero(slots == pinned)
        bars[:, slot] = 1
        if step < len(bars):
            bars[step] = 1
            bars[step, slot] = 0
            room[room_rows(step) : room_rows(step + 1)] = len(bars)
