"""Random inputs of rules, for graphs and references alike: any numbers that the inputs may hold, likely or not."""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Arrays
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, room_rows


def random_rules(rng: np.random.Generator, length: int, slots: int, groups: int) -> Arrays:
    """A batch of one; every input is neutral now and then."""
    members = rng.random((slots, groups)) < rng.choice([0.0, 0.2, 0.6])
    room = rng.integers(0, rng.choice([1, 3, 6, 50]), (room_rows(length), groups))
    bars = rng.random((length, slots)) < rng.choice([0.0, 0.1, 0.7])
    if rng.random() < 0.3:  # A pin: alone at its step, and barred elsewhere.
        step, slot = rng.integers(length), rng.integers(slots)
        bars[:, slot], bars[step] = True, True
        bars[step, slot] = False
    lifts = rng.uniform(-0.9, 3.0, slots) * (rng.random(slots) < rng.choice([0.0, 0.5]))
    seen = (2 + rng.uniform(-1, 1, (length, slots))) * (rng.random((length, slots)) < rng.choice([0.0, 0.4, 1.0]))
    arrays = {STEP_BARS: bars, MEMBERS: members, ROOM: room, LIFTS: lifts, SEEN: seen}
    return {name: np.asarray(array, np.float32)[None] for name, array in arrays.items()}


def no_rules(length: int, slots: int, groups: int) -> Arrays:
    """A batch of one of zeros, which mean no rule."""
    neutral = random_rules(np.random.default_rng(0), length, slots, groups)
    return {name: np.zeros_like(array) for name, array in neutral.items()}
