"""Admit or refuse requests, by a hard cap and by queue delay.

Whether to shed follows CoDel (Nichols and Jacobson, 2012): a short queue that empties again is a burst, which the
deadlines deal with; a queue whose *shortest* delay over a whole interval stays above a target will not go away by
itself. How many requests may be in progress then is found as TCP finds its window (Chiu and Jain, 1989): each request
that the model answered in time adds a little, one that came too late takes a share away. Refusing costs next to
nothing, so the rest of the machine goes into lists of full quality. Used from the event loop only; times are in seconds
on `perf_counter`'s clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Literal

RefusalReason = Literal["overloaded", "shed"]
"""overloaded: the hard cap is reached; shed: a queue stands and the window is full."""

# A queue that stood counts as gone only after so many calm intervals in a row, so that shedding does not flicker.
_CALM_INTERVALS: Final = 3
# One step up takes five times as many answers in time as may be in progress, since a step too far costs late lists.
_GROWTH: Final = 0.2
_CUT: Final = 0.85
_SMALLEST: Final = 2.0  # One in the engine, and one on its way there or back.


@dataclass(frozen=True, kw_only=True)
class AdmissionOptions:
    """Options of admission: the hard cap (`limit`), and shedding, which `enforce` turns off."""

    limit: int
    target_seconds: float = 0.005
    interval_seconds: float = 0.05
    enforce: bool = True


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request in progress: the number in progress, and of cuts, as it came in."""

    in_flight: int
    cuts: int


class QueueDelay:
    """Judge whether a queue stands, by the shortest delay of every interval (CoDel).

    An interval is judged by the first event after its end; `standing` only looks, and changes nothing.
    """

    def __init__(self, *, target_seconds: float, interval_seconds: float) -> None:
        self._target = target_seconds
        self._interval = interval_seconds
        self._ends = 0.0
        self._shortest: float | None = None
        self._shed = False
        self._calm = _CALM_INTERVALS

    def note(self, seconds: float, now: float) -> None:
        """Count a request that has waited for `seconds`."""
        self._begin_interval(now)
        self._shortest = seconds if self._shortest is None else min(self._shortest, seconds)

    def shed(self, now: float) -> None:
        """Count a refusal; but for that, the queue would stand in this interval."""
        self._begin_interval(now)
        self._shed = True

    def standing(self, now: float) -> bool:
        """Tell whether every request of some recent interval has waited for longer than the target."""
        return self._calm_intervals(now) < _CALM_INTERVALS

    def _begin_interval(self, now: float) -> None:
        """Judge the interval and begin the next, if its end has passed."""
        if now >= self._ends:
            self._calm = self._calm_intervals(now)
            self._shortest, self._shed = None, False
            self._ends = now + self._interval

    def _calm_intervals(self, now: float) -> int:
        """Count the calm intervals in a row up to `now`."""
        if now < self._ends:
            return self._calm
        # The interval that has ended, and those since then in which nobody came. The latter are calm in any case.
        passed = 1 + int((now - self._ends) / self._interval) if self._ends else 1
        if self._shed or (self._shortest is not None and self._shortest > self._target):
            return passed - 1
        return self._calm + passed


class AdmissionWindow:
    """Find how many requests the model answers in time at once (AIMD)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = float(most)
        self.cuts = 0

    def ended(self, ticket: Ticket, *, late: bool) -> None:
        """Learn from a request; only one that came in after a cut causes another."""
        if not late:
            # With room to spare in the window, an answer in time does not tell whether a larger one would do.
            if ticket.in_flight > self.size - 1:
                self.size = min(self._most, self.size + _GROWTH / self.size)
        # A request beyond the window does not count: it was admitted before the queue stood, or is only observed.
        elif ticket.cuts == self.cuts and ticket.in_flight < self.size + 1:
            self.size = max(_SMALLEST, _CUT * min(self.size, ticket.in_flight))
            self.cuts += 1


class Admission:
    """Count the requests in progress, and admit or refuse the next.

    Requests of batches give way: one is admitted only while no queue stands, it takes no place that a single request
    could have, and it teaches nothing about the window.
    """

    def __init__(self, options: AdmissionOptions, *, clock: Callable[[], float] | None = None) -> None:
        self._options = options
        self._clock = perf_counter if clock is None else clock
        self._delay = QueueDelay(target_seconds=options.target_seconds, interval_seconds=options.interval_seconds)
        self._window = AdmissionWindow(options.limit)
        self.in_flight = 0
        self.giving_way = 0
        """Requests of batches in progress, which `in_flight` does not count."""

    @property
    def overloaded(self) -> bool:
        """Tell whether a queue stands."""
        return self._delay.standing(self._clock())

    def admit(self) -> Ticket | RefusalReason:
        """Admit the next request, or say why it is refused. An idle service admits everybody.

        Every ticket is paired with one call of `leave`.
        """
        return self.judge() or self.enter()

    def admit_giving_way(self) -> RefusalReason | None:
        """Admit the next request of a batch, or say why it is refused.

        Every admitted one is paired with one call of `leave_giving_way`.
        """
        if self.in_flight + self.giving_way >= self._options.limit:
            return "overloaded"
        if self._options.enforce and self.overloaded:
            return "shed"
        self.giving_way += 1
        return None

    def leave_giving_way(self) -> None:
        """Count one request of a batch in progress less."""
        self.giving_way -= 1

    def judge(self) -> RefusalReason | None:
        """Say why the next request is refused; None: there is room for it now."""
        if self.in_flight >= self._options.limit:
            return "overloaded"
        if self._options.enforce and self.would_shed():
            self._delay.shed(self._clock())
            return "shed"
        return None

    def would_shed(self) -> bool:
        """Tell whether a queue stands and the window is full."""
        return bool(self.in_flight) and self.overloaded and self.in_flight + 1 > self._window.size

    def enter(self) -> Ticket:
        """Admit a request in any case."""
        self.in_flight += 1
        return Ticket(self.in_flight, self._window.cuts)

    def leave(self) -> None:
        """Count one request in progress less."""
        self.in_flight -= 1

    def waited(self, seconds: float) -> None:
        """Learn from a request that has waited so long, or would have."""
        self._delay.note(seconds, self._clock())

    def ended(self, ticket: Ticket, *, late: bool) -> None:
        """Learn from a list with the whole budget: the model's was in time, or `late`."""
        self._window.ended(ticket, late=late)
