"""Name the policies that the model compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from loadtest.resilience.overload_model.costs import MS
from service.timing.admission import AdmissionOptions
from service.timing.deadline import CLOSE_SECONDS, FORMULA_SECONDS, LEAD_SECONDS

_NO_LIMIT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of the service, unless said otherwise. Times are in seconds.

    - `refuse`: CPU of a refusal, beside reading the head.
    - `interval`: time for which a queue must stand before requests are shed.
    - `close`: an answer of the model with less time left than this counts as late.
    - `lead`: time kept back before a deadline; `formula`: time for one list by the formula.
    - `since_look`: share of the time since the event loop last looked at its sockets that counts as the request's own.
    - `count_refusals`: lengthen the expected wait by the CPU that refusals take.
    - `answer_first`: send all answers before reading.
    - `at_once`: most requests read in one turn of the loop while a list is due.
    - `bound`: choose batches and waits by the time that 99 of 100 runs keep, and not by the mean.
    """

    name: str
    refuse: float = 0.13 * MS
    interval: float = AdmissionOptions(limit=1).interval_seconds
    close: float = CLOSE_SECONDS
    lead: float = LEAD_SECONDS
    formula: float = FORMULA_SECONDS
    since_look: float = 0.0
    count_refusals: bool = False
    answer_first: bool = False
    at_once: int = _NO_LIMIT
    bound: bool = False


NOW: Final = Policy("the service now")
BEFORE: Final = Policy("before", refuse=0.27 * MS, interval=0.1, close=0.0)
KEPT: Final = (
    BEFORE,
    replace(BEFORE, name="before, refusals at half the CPU", refuse=NOW.refuse),
    replace(BEFORE, name="... and an interval of 50 ms", refuse=NOW.refuse, interval=0.05),
    NOW,
)
"""What was before, and each change on top of the one above it."""

OTHERS: Final = (
    replace(NOW, name="4 ms left, or late", close=4 * MS),
    replace(NOW, name="3 ms kept back", lead=3 * MS, close=4 * MS),
    replace(NOW, name="1 ms for a list by the formula", formula=1 * MS),
    replace(NOW, name="half the time since the last look", since_look=0.5),
    replace(NOW, name="all the time since the last look", since_look=1.0),
    replace(NOW, name="refusals in the expected wait", count_refusals=True),
    replace(NOW, name="answers before reading", answer_first=True),
    replace(NOW, name="2 requests read at once", at_once=2),
    replace(NOW, name="batches by the bound", bound=True),
)
"""What was tried on top of that."""
