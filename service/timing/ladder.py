"""Which rung answers a request: the model, else the score formula, else the order that came in.

Knows time only; what the rungs do is in `rerank.py` and `fallback.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Final

from service.inference.dispatcher import LEAD_SECONDS
from service.inference.engine import NEVER

_FORMULA_SECONDS: Final = 0.0005  # Less than this before the deadline there is no time for the formula either.


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the answer is due, on `perf_counter`'s clock. One that is only observed changes no answer."""

    at: float = NEVER
    enforced: bool = True

    @property
    def limit(self) -> float:
        """What the batcher must keep to."""
        return self.at if self.enforced else NEVER

    @property
    def too_late_for_formula(self) -> bool:
        """Is there no time left but for the order that came in?"""
        return self.enforced and perf_counter() > self.at - _FORMULA_SECONDS


def in_time(wait: float, deadline: Deadline) -> bool:
    """Does an answer of the model after so many seconds leave time to be sent? One at once is always given a try."""
    return not wait or perf_counter() + wait <= deadline.at - LEAD_SECONDS
