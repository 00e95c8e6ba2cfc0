"""Who gets in: a hard cap on requests in progress, and shedding by queue delay before a body is even read.

Shedding follows CoDel (Nichols and Jacobson, 2012): a short queue that empties again is a burst, and the ladder deals
with it; a queue whose *shortest* delay over a whole interval stays above a target will not go away by itself, and then
whatever could not be answered by the model in time is refused at once. In that state each request that is let in must
be expected to end within the budget, by a live fit of times against the number of requests in progress, and refusing
costs next to nothing. Used from the event loop only; times are in seconds on `perf_counter`'s clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Final, Literal

from service.estimate import LiveFit

Refusal = Literal["overloaded", "shed"]
"""overloaded: the hard cap; shed: by queue delay."""

# A queue that was standing counts as gone only after so many intervals below the target, lest shedding flicker.
_CALM_INTERVALS: Final = 3


@dataclass(frozen=True, kw_only=True)
class AdmissionOptions:
    """`budget_seconds`: what a request let in must be expected to end within. `enforce` off: nothing is shed."""

    limit: int
    budget_seconds: float
    target_seconds: float = 0.005
    interval_seconds: float = 0.1
    enforce: bool = True


class QueueDelay:
    """CoDel's judgement: is there a standing queue? The shortest delay of every interval decides."""

    def __init__(self, *, target_seconds: float, interval_seconds: float) -> None:
        self._target = target_seconds
        self._interval = interval_seconds
        self._ends = 0.0
        self._shortest: float | None = None
        self._calm = _CALM_INTERVALS

    def note(self, seconds: float, now: float) -> None:
        """A request has waited so long for its turn."""
        self._turn(now)
        self._shortest = seconds if self._shortest is None else min(self._shortest, seconds)

    def standing(self, now: float) -> bool:
        """Has every request of some recent interval waited for longer than the target?"""
        self._turn(now)
        return self._calm < _CALM_INTERVALS

    def _turn(self, now: float) -> None:
        if now < self._ends:
            return
        passed = 1 + int((now - self._ends) / self._interval) if self._ends else 1
        if self._shortest is not None and self._shortest > self._target:
            self._calm = passed - 1  # Intervals without a single request since then are calm ones.
        else:
            self._calm += passed
        self._shortest = None
        self._ends = now + self._interval


class Admission:
    """Counts who is in, and judges who may come in."""

    def __init__(self, options: AdmissionOptions) -> None:
        self._options = options
        self._delay = QueueDelay(target_seconds=options.target_seconds, interval_seconds=options.interval_seconds)
        self._times = LiveFit()
        self.in_flight = 0

    @property
    def overloaded(self) -> bool:
        """Does a queue stand?"""
        return self._delay.standing(perf_counter())

    def refusal(self) -> Refusal | None:
        """Why the next request may not come in; None: it may. An idle service lets everybody in."""
        if self.in_flight >= self._options.limit:
            return "overloaded"
        if self._options.enforce and self.would_shed():
            return "shed"
        return None

    def would_shed(self) -> bool:
        """Is there a standing queue, and would the next request end too late behind it?"""
        if not self.in_flight or not self.overloaded:
            return False
        return not self.in_time()

    def in_time(self, delay_seconds: float = 0.0) -> bool:
        """Would a request that came now end within the budget, as far as can be told, if it were so much later?"""
        return delay_seconds + self._times.bound(self.in_flight + 1) <= self._options.budget_seconds

    def enter(self) -> int:
        """One more is in progress; returns how many are. Every call is paired with `leave`."""
        self.in_flight += 1
        return self.in_flight

    def leave(self) -> None:
        """One has ended."""
        self.in_flight -= 1

    def waited(self, seconds: float) -> None:
        """A request has waited so long for its turn, or would have."""
        self._delay.note(seconds, perf_counter())

    def answered(self, in_flight: int, seconds: float) -> None:
        """The model has answered a request that found `in_flight`, itself included, in so many seconds."""
        self._times.add(in_flight, seconds)
