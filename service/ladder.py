"""Which rung answers a request: the model, else the score formula, else the order that came in.

Knows time only; what the rungs do is in `rerank.py` and `fallback.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Final

from service.batcher import Batcher
from service.engine import NEVER, Engine

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


def model_in_time(batcher: Batcher, engine: Engine, deadline: Deadline) -> bool:
    """Could the model's answer be there in time, as far as can be told before it is queued?"""
    return batcher.in_time(engine, deadline.at)
