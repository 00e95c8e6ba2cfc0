"""Find which candidates rules kept from the places of a list that the model made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np

from models.contract.rules.ledger import Ledger
from models.contract.rules.ruling import Ruling
from service.contract.schemas import PassedOver
from service.ranking.dealt import DealtRequest

MOST: Final = 10
"""Most candidates that are named for one place."""


def passed_over(dealt: DealtRequest, ruling: Ruling, picked: Sequence[int]) -> list[list[PassedOver]]:
    """Name for each place the heads of queues that rules kept from it.

    At most `MOST` are named. Where a pin stands these are each queue's first ones; elsewhere all that stand before the
    last of the candidates that the queue did propose, or to its end if it had too few.
    """
    queues = _queues(dealt)
    ledger, found = Ledger(ruling), []
    for place, candidate in enumerate(picked):
        barred = _barred(dealt, queues, ledger, set(picked[:place]), is_pin=place in ruling.pins)
        found.append(list(islice(barred, MOST)))
        ledger.put(candidate)
    return found


def _queues(dealt: DealtRequest) -> dict[str, list[int]]:
    """Return every queue's candidates, best first."""
    slots = dealt.slots.filled()
    return {
        queue.name: slots.candidates[slots.queues == i].tolist()
        for i, queue in enumerate(dealt.plan.queues)
        if np.any(slots.queues == i)
    }


def _barred(
    dealt: DealtRequest, queues: dict[str, list[int]], ledger: Ledger, chosen: set[int], *, is_pin: bool
) -> Iterator[PassedOver]:
    """Yield what rules keep from the ledger's next place."""
    width, ids = dealt.model.manifest.limits.head_width, dealt.candidates.ids
    for queue, members in queues.items():
        heads = 0
        for candidate in members:
            if heads == width:
                break
            if candidate in chosen:
                continue
            rule = ledger.barring(candidate)
            if rule is not None:
                yield PassedOver(queue, ids[candidate], rule)
            if rule is None or is_pin:
                heads += 1
