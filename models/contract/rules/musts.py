"""Choose the candidates that must have a slot, for pins and floors.

Axis letters: n candidates, k kept candidates.
"""

from __future__ import annotations

import numpy as np

from models.contract.arrays import Ints
from models.contract.rules.quotas import Queue, Quotas
from models.contract.rules.ruling import Ruling


def choose_musts(ruling: Ruling, kept: Ints, ranks: Ints, length: int) -> list[int]:
    """Choose those that must be dealt for lists of `length`, pins first.

    They are named by their numbers among the `kept` [k]. `ranks` [k] is the best rank that any queue gives to each.
    Members that a floor needs are chosen within the caps of a list where there are enough of them.
    """
    pins = [candidate for place, candidate in ruling.pins.items() if place < length]
    musts: list[int] = np.searchsorted(kept, pins).tolist()
    floors = [c for c in ruling.constraints if c.is_floor]
    if not floors:
        return musts
    order = ranks.argsort(kind="stable")
    chosen = Queue(Quotas.of_list(ruling, kept, length), len(kept))
    for must in musts:
        chosen.put(must)
    for floor in floors:
        late = {candidate for place, candidate in ruling.pins.items() if place >= floor.window}
        wanted = ~floor.members[kept]
        have = sum(bool(wanted[i]) and int(kept[i]) not in late for i in chosen.held)
        need = len(chosen.held) + min(floor.window, length) - floor.limit - have
        members = order[wanted[order]].tolist()
        chosen.offer(members)
        chosen.take(set(chosen.held), need - len(chosen.held))
        held = set(chosen.held)
        spare = [i for i in members if i not in held]  # caps let too few of them into one list
        for must in spare[: max(0, need - len(chosen.held))]:
            chosen.put(must)
    return chosen.held


def crowding(ruling: Ruling, kept: Ints, ranks: Ints, musts: list[int], length: int) -> list[int]:
    """List the candidates that could use up the caps of what floors need.

    They are named by their numbers among the `kept` [k].
    If no more of a group are dealt than its limit, the cap cannot bar those of the group that a floor needs at the
    list's end. The best by `ranks` [k] stay.
    """
    pins = {candidate for place, candidate in ruling.pins.items() if place < length}
    for_floors = [i for i in musts if int(kept[i]) not in pins]
    if not for_floors:
        return []
    found: set[int] = set()
    order, dealt = ranks.argsort(kind="stable"), set(musts)
    counted_in = np.unique(ruling.counted_in[:, kept[for_floors]]).tolist()
    for cap in (ruling.constraints[i] for i in counted_in if i >= 0):
        if cap.is_floor:
            continue
        members = cap.members[kept]
        others = [i for i in order[members[order]].tolist() if i not in dealt]
        found.update(others[max(0, cap.limit - int(members[musts].sum())) :])
    return list(found)
