"""Answer modelled requests as the service does, with its own code wherever that decides anything.

Admission, deadlines, the expected wait and the choice of a batch are the service's. The rest is what its event loop and
its inference thread do with a request, in the same order, and for the CPU time that it takes there.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from loadtest.resilience.overload_model.costs import MS, Costs, Draws
from loadtest.resilience.overload_model.cpu import RELEASE, SLEEP, Cpu, Steps, Thread, Work
from loadtest.resilience.overload_model.policy import Policy
from service.inference.batching import next_batch, seconds_for
from service.timing.admission import Admission, AdmissionOptions, Ticket
from service.timing.deadline import LEAD_SECONDS, Deadline, in_time, latest_starts
from service.timing.estimate import LiveFit

BUDGET: Final = 19 * MS
_SHORTEST_SLEEP: Final = 1 * MS
_deadline: Final = attrgetter("deadline")


@dataclass(slots=True, eq=False)
class Engine:
    """An engine, as the choice of a batch knows it."""

    largest_batch: int


@dataclass(slots=True, eq=False)
class Request:
    """One request, and its job for the engine."""

    due: float
    engine: Engine
    arrival: float = 0.0
    deadline: float = 0.0
    submitted: float = 0.0
    begun: float = 0.0
    ended: float = math.inf
    outcome: str = "none"
    ticket: Ticket | None = None
    background: bool = False
    called_back: bool = False


class Server:
    """The two threads and what they share."""

    def __init__(self, policy: Policy, costs: Costs, draws: Draws, dues: Sequence[float], limit: int = 64) -> None:
        self.policy, self.costs, self._draws = policy, costs, draws
        self._loop, self._inference = Thread(), Thread()
        self.cpu = Cpu(self._loop, self._inference, slice_seconds=costs.slice, switch_seconds=costs.switch)
        self.engine = Engine(costs.largest_batch)
        self.requests = [Request(due, self.engine) for due in dues]
        self._next = 0
        self.admission = Admission(
            AdmissionOptions(limit=limit, interval_seconds=policy.interval), clock=lambda: self.cpu.now
        )
        self._times = LiveFit()
        self._ready: deque[Steps] = deque()
        self._watched: list[Request] = []
        self._wake_at = math.inf
        self._jobs: list[Request] = []
        self._done_at: float | None = None
        self._running = False
        self._looked = 0.0
        self._refusing = 0.0
        self._refused_at = 0.0
        self._loop.steps, self._inference.steps = self._run_loop(), self._run_inference()

    def run(self, seconds: float, taken: Sequence[tuple[float, float]]) -> None:
        """Answer until then."""
        self.cpu.run(seconds, self._next_event, self._on_event, taken)

    def _next_event(self) -> float:
        if not self._loop.asleep:
            return math.inf
        due = self.requests[self._next].due if self._next < len(self.requests) else math.inf
        return min(due, self._wake_at)

    def _on_event(self) -> None:
        self.cpu.wake(self._loop)

    def _work(self, kind: str, median: float, *, python: bool = True) -> Work:
        return Work(self._draws.cost(kind, median), python)

    # The event loop: timers, what is ready, then the sockets.

    def _run_loop(self) -> Steps:
        while True:
            yield Work(self.costs.turn, python=False)
            if self.cpu.now >= self._wake_at:
                yield from self._call_back()
                yield RELEASE
            for _ in range(len(self._ready)):
                yield from self._ready.popleft()
                yield RELEASE
            if self._ready and self.policy.answer_first:
                continue
            now = self.cpu.now
            read = self._take_readable(now)
            if not read and not self._ready and now < self._wake_at:
                yield SLEEP
                self._looked = self.cpu.now
                read = self._take_readable(self.cpu.now)
            looked, self._looked = self._looked, self.cpu.now
            for request in read:
                yield from self._read(request, looked)
                yield RELEASE

    def _take_readable(self, now: float) -> list[Request]:
        first, most = self._next, self.policy.at_once if self._watched else len(self.requests)
        while self._next < len(self.requests) and self.requests[self._next].due <= now and self._next - first < most:
            self._next += 1
        return self.requests[first : self._next]

    def _read(self, request: Request, looked: float) -> Steps:
        now = self.cpu.now
        request.arrival = now - self.policy.since_look * (now - looked)
        yield self._work("head", self.costs.head)
        reason = self.admission.judge()
        if reason is not None:
            work = self._work("refuse", self.policy.refuse)
            yield work
            request.outcome, request.ended = reason, self.cpu.now
            self._note_refusal(work.seconds + self.costs.head)
            return
        yield self._work("body", self.costs.body)
        admitted = self.admission.admit()
        if isinstance(admitted, Ticket):
            request.ticket = admitted
            self._ready.append(self._prepare(request))
        else:
            request.outcome, request.ended = admitted, self.cpu.now

    def _prepare(self, request: Request) -> Steps:
        """Decode, deal and encode; then wait for the engine, or answer without it."""
        lag = self.cpu.now - request.arrival
        request.begun = lag
        deadline = Deadline(request.arrival + BUDGET)
        request.deadline = deadline.at - self.policy.lead
        yield self._work("prepare", self.costs.prepare)
        wait = self._expected_wait()
        # The service keeps its own lead back here; what the policy's is longer by is added.
        late = wait + self.policy.lead - LEAD_SECONDS if wait else 0.0
        if not in_time(late, deadline, clock=lambda: self.cpu.now):
            yield from self._answer_by_formula(request, "wait", max(self.cpu.now - request.arrival, lag + wait))
            return
        request.submitted = self.cpu.now
        insort(self._watched, request, key=_deadline)
        self._wake_at = min(self._wake_at, request.deadline - (len(self._watched) - 1) * self.policy.formula)
        self._jobs.append(request)
        self.cpu.wake(self._inference)

    def _expected_wait(self) -> float:
        if not self._running and not self._jobs:
            return 0.0
        left = 0.0 if self._done_at is None else max(0.0, self._done_at - self.cpu.now)
        wait = left + seconds_for(len(self._jobs) + 1, self.engine.largest_batch, self._predict)
        return wait / (1 - self._refusing) if self.policy.count_refusals else wait

    def _predict(self, n: int) -> float:
        return self._times.bound(n) if self.policy.bound else self._times.predict(n)

    def _note_refusal(self, seconds: float) -> None:
        """Follow the share of time that refusals take, over the last 0.1 s."""
        now = self.cpu.now
        fade = math.exp(-(now - self._refused_at) / 0.1)
        self._refusing, self._refused_at = min(0.8, self._refusing * fade + seconds / 0.1), now

    def _call_back(self) -> Steps:
        self._wake_at = math.inf
        latest = latest_starts([request.deadline for request in self._watched], self.policy.formula)
        due = bisect_right(latest, self.cpu.now + _SHORTEST_SLEEP)
        for request in self._watched[:due]:
            request.called_back = True
            self._ready.append(self._give_up(request))
        if due < len(latest):
            self._wake_at = latest[due]
        del self._watched[:due]
        yield self._work("deliver", self.costs.deliver)

    def _give_up(self, request: Request) -> Steps:
        yield from self._answer_by_formula(request, "deadline", self.cpu.now - request.arrival)

    def _answer_by_formula(self, request: Request, reason: str, waited: float) -> Steps:
        yield self._work("formula", self.costs.formula)
        self._learn(request, max(waited, self.cpu.now - request.arrival), late=True)
        yield self._work("respond", self.costs.respond)
        request.outcome, request.ended = reason, self.cpu.now
        self.admission.leave()

    def _deliver(self, batch: Sequence[Request], started: float) -> Steps:
        yield self._work("deliver", self.costs.deliver)
        for request in batch:
            if not request.called_back:
                self._watched.remove(request)
                self._ready.append(self._respond(request, started))

    def _respond(self, request: Request, started: float) -> Steps:
        late = self.cpu.now > request.arrival + BUDGET - self.policy.close
        yield self._work("respond", self.costs.respond)
        self._learn(request, request.begun + started - request.submitted, late=late)
        request.outcome, request.ended = "full", self.cpu.now
        self.admission.leave()

    def _learn(self, request: Request, waited: float, *, late: bool) -> None:
        self.admission.waited(waited)
        assert request.ticket is not None
        self.admission.ended(request.ticket, late=late)

    # The inference thread.

    def _run_inference(self) -> Steps:
        while True:
            if not self._jobs:
                yield SLEEP
                continue
            yield self._work("gather", self.costs.gather)
            self._jobs = [job for job in self._jobs if not job.called_back]
            if not self._jobs:
                continue
            batch = next_batch(self._jobs, self._predict, self.cpu.now)
            self._jobs = [job for job in self._jobs if job not in batch]
            started = self.cpu.now
            self._done_at = started + self._times.predict(len(batch))
            self._running = True
            yield self._work("run", self.costs.run(len(batch)), python=False)
            yield Work(0.02 * MS)
            self._done_at, self._running = None, False
            self._times.add(len(batch), self.cpu.now - started)
            self._ready.append(self._deliver(batch, started))
            self.cpu.wake(self._loop)
