"""Name the policies that the model compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from loadtest.resilience.overload_model.costs import MS, Costs
from service.timing.deadline import FORMULA_SECONDS, LEAD_SECONDS


@dataclass(frozen=True, slots=True)
class Policy:
    """What may differ from the service as it is.

    `since_look` counts that share of the time since the event loop last looked at its sockets as the request's own.
    `lead` is kept back before a deadline. `refusals` adds the CPU that refusals take to the expected wait. `at_once`
    limits the requests read in one turn while a list is due, `answer_first` sends answers before reading.
    `margin` must be left at the deadline of an answer that counts as in time.
    """

    name: str
    since_look: float = 0.0
    lead: float = LEAD_SECONDS
    formula: float = FORMULA_SECONDS
    refusals: bool = False
    at_once: int = 1_000_000
    answer_first: bool = False
    margin: float = 0.0
    interval: float = 0.1
    tail: bool = False
    batch: int = 8


TODAY: Final = Policy("as it is")
