"""Who gets in: a hard cap on requests in progress, and shedding by queue delay before a body is even read.

Whether to shed is CoDel's judgement (Nichols and Jacobson, 2012): a short queue that empties again is a burst, and the
ladder deals with it; a queue whose *shortest* delay over a whole interval stays above a target will not go away by
itself. How many may be in progress then is found as TCP finds its window (Chiu and Jain, 1989): each request that the
model answered in time adds a little, one that came too late takes a share away. Refusing costs next to nothing, so the
rest of the machine goes into lists of full quality. Used from the event loop only; times are in seconds on
`perf_counter`'s clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Final, Literal

Refusal = Literal["overloaded", "shed"]
"""overloaded: the hard cap; shed: by queue delay."""

# A queue that was standing counts as gone only after so many intervals below the target, lest shedding flicker.
_CALM_INTERVALS: Final = 3
# One step up takes five times as many answers in time as may be in progress: a step too far costs late lists.
_GROWTH: Final = 0.2
_CUT: Final = 0.85
_SMALLEST: Final = 2.0  # One in the engine, and one on its way there or back.


@dataclass(frozen=True, kw_only=True)
class AdmissionOptions:
    """`limit` is the hard cap. `enforce` off: nothing is shed."""

    limit: int
    target_seconds: float = 0.005
    interval_seconds: float = 0.1
    enforce: bool = True


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request in progress: how many were when it came in, itself included, and after how many cuts that was."""

    in_flight: int
    cuts: int


class QueueDelay:
    """CoDel's judgement: is there a standing queue? The shortest delay of every interval decides."""

    def __init__(self, *, target_seconds: float, interval_seconds: float) -> None:
        self._target = target_seconds
        self._interval = interval_seconds
        self._ends = 0.0
        self._shortest: float | None = None
        self._shed = False
        self._calm = _CALM_INTERVALS

    def note(self, seconds: float, now: float) -> None:
        """A request has waited so long for its turn."""
        self._turn(now)
        self._shortest = seconds if self._shortest is None else min(self._shortest, seconds)

    def shed(self, now: float) -> None:
        """A request was refused; but for that, the queue would stand in this interval."""
        self._turn(now)
        self._shed = True

    def standing(self, now: float) -> bool:
        """Has every request of some recent interval waited for longer than the target?"""
        self._turn(now)
        return self._calm < _CALM_INTERVALS

    def _turn(self, now: float) -> None:
        if now < self._ends:
            return
        passed = 1 + int((now - self._ends) / self._interval) if self._ends else 1
        if self._shed or (self._shortest is not None and self._shortest > self._target):
            self._calm = passed - 1  # Intervals without a single request since then are calm ones.
        else:
            self._calm += passed
        self._shortest, self._shed = None, False
        self._ends = now + self._interval


class Window:
    """How many requests may be in progress so that the model answers them in time: additive up, multiplicative down."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = float(most)
        self.cuts = 0

    def ended(self, ticket: Ticket, *, late: bool) -> None:
        """A request has ended. Only one of those that came in after a cut can lead to the next."""
        if not late:
            if ticket.in_flight > self.size - 1:  # Else it says nothing of what more would do.
                self.size = min(self._most, self.size + _GROWTH / self.size)
        elif ticket.cuts == self.cuts and ticket.in_flight < self.size + 1:  # Else it came in beside the window.
            self.size = max(_SMALLEST, _CUT * min(self.size, ticket.in_flight))
            self.cuts += 1


class Admission:
    """Counts who is in, and judges who may come in."""

    def __init__(self, options: AdmissionOptions) -> None:
        self._options = options
        self._delay = QueueDelay(target_seconds=options.target_seconds, interval_seconds=options.interval_seconds)
        self._window = Window(options.limit)
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
            self._delay.shed(perf_counter())
            return "shed"
        return None

    def would_shed(self) -> bool:
        """Is there a standing queue, and are already as many in progress as can be answered in time?"""
        return bool(self.in_flight) and self.overloaded and self.in_flight + 1 > self._window.size

    def enter(self) -> Ticket:
        """One more is in progress. Every call is paired with `leave`."""
        self.in_flight += 1
        return Ticket(self.in_flight, self._window.cuts)

    def leave(self) -> None:
        """One has ended."""
        self.in_flight -= 1

    def waited(self, seconds: float) -> None:
        """A request has waited so long for its turn, or would have."""
        self._delay.note(seconds, perf_counter())

    def ended(self, ticket: Ticket, *, late: bool) -> None:
        """A request that had the whole budget has its list: the model's in time, or too `late` for that."""
        self._window.ended(ticket, late=late)
