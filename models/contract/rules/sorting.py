"""Sort the candidates in slots by a score under a ruling.

Axis letters: n candidates, N slots, L places of a list.
"""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.partition import sorted_slots
from models.contract.rules.ledger import Ledger
from models.contract.rules.ruling import Ruling


def boosted(scores: Floats, ruling: Ruling) -> Floats:
    """Multiply scores [..., n] by the boosts.

    A score below 0 is multiplied as well, so that there a factor above 1 moves a candidate down: boosts suit formulas
    that do not fall below 0. A product past the largest float is infinite.
    """
    if ruling.boosts is None:
        return scores
    with np.errstate(over="ignore"):
        found: Floats = scores * ruling.boosts
    return found


def ruled_sort(scores: Floats, slots: Ints, length: int, ruling: Ruling) -> Ints:
    """Name the slots of the best candidates in their order under the rules: int64 [length].

    `slots` [N] says which candidate stands in each slot, −1: none. The list ends (−1) where a rule would have to be
    relaxed. Places past the ruling's own are under no rules, as they are in a graph.
    """
    best = sorted_slots(boosted(scores, ruling), slots, len(slots))
    if not (ruling.pins or ruling.constraints):
        result = np.full(length, -1, np.int64)
        result[: len(best[:length])] = best[:length]
        return result
    best = best[best >= 0]
    candidates = slots[best]
    left = np.ones(len(best), np.bool_)
    ledger = Ledger(ruling)
    result = np.full(length, -1, np.int64)
    for place in range(min(length, len(best))):
        free = left & ledger.open()[candidates] if place < ruling.length else left
        if not free.any():
            break
        first = int(free.argmax())
        left[first] = False
        result[place] = best[first]
        if place < ruling.length:
            ledger.put(int(candidates[first]))
    return result
