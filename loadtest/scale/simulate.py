"""Simulate one engine behind HTTP workers that batches without waiting.

Requests come at random, with or without bursts, and each goes to a random worker. A worker is one event loop: it takes
what comes in the order in which it comes, a new request or a list to answer with. The engine takes all that waits, up
to the largest batch, whenever it is free. Nothing is shed, degraded or lost.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

import numpy as np

from loadtest.rig.openloop.window import nearest_rank
from loadtest.scale import figures as f
from loadtest.scale.online import LARGEST_BATCH, Run

_WARM: Final = 0.1
"""Share of the requests, the first, that no figure counts."""
_COMES, _WAITS, _RUN_ENDS = range(3)


@dataclass(frozen=True, slots=True)
class Bursts:
    """Times at which `factor` times the mean rate comes.

    They are `share` of all time, and each is `seconds` long on average.
    """

    factor: float = 1.5
    share: float = 0.1
    seconds: float = 0.05

    @property
    def quiet(self) -> float:
        """Times the mean rate that comes at all other times."""
        return (1 - self.factor * self.share) / (1 - self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """HTTP workers with their CPU time before and after the engine, and its run."""

    workers: int
    before: float
    after: float
    run: Run
    largest: int = LARGEST_BATCH
    spread: float = f.CPU_SPREAD.value


@dataclass(slots=True)
class Request:
    """Times at which a request came, waited for the engine, ran, and was answered."""

    came: float
    worker: int
    waits: float = 0.0
    runs: float = 0.0
    answered: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of requests and of their wait, the share over the budget, the mean batch.

    `batch` is the mean of runs, `seen` that of requests, in which a run counts as often as it is large: E[b²] / E[b].
    `busy` is the share of time that the engine runs: nearly all of it at any load, in batches that are small.
    """

    p50: float
    p99: float
    wait_mean: float
    wait_p99: float
    late: float
    batch: float
    seen: float
    busy: float


def levels(seconds: float, seed: int, bursts: Bursts | None) -> Iterator[tuple[float, float]]:
    """Draw until when each factor of the mean rate comes, alike for every rate."""
    if bursts is None:
        yield seconds, 1.0
        return
    stream, now, burst = random.Random(f"{seed} bursts"), 0.0, False
    while now < seconds:
        mean = bursts.seconds if burst else bursts.seconds * (1 - bursts.share) / bursts.share
        now = min(seconds, now + stream.expovariate(1 / mean))
        yield now, bursts.factor if burst else bursts.quiet
        burst = not burst


def arrivals(rate: float, seconds: float, seed: int, bursts: Bursts | None) -> Iterator[float]:
    """Draw Poisson arrivals, with or without bursts.

    What is left of a wait where the rate changes is exponential again, at the new rate.
    """
    stream, begin = random.Random(f"{seed} arrivals"), 0.0
    for end, factor in levels(seconds, seed, bursts):
        now = begin
        while (now := now + stream.expovariate(rate * factor)) < end:
            yield now
        begin = end


@dataclass(slots=True)
class _Host:
    setup: Setup
    stream: random.Random
    free: list[float] = field(default_factory=list)
    waiting: deque[Request] = field(default_factory=deque)
    events: list[tuple[float, int, int, object]] = field(default_factory=list)
    running: bool = False
    batches: list[tuple[float, int]] = field(default_factory=list)
    number: int = 0

    def later(self, when: float, kind: int, what: object) -> None:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, kind, what))

    def work(self, worker: int, now: float, median: float) -> float:
        """Let a worker do something after all that it has; return when it ends."""
        cost = median * self.stream.lognormvariate(0.0, self.setup.spread) if median and self.setup.spread else median
        self.free[worker] = max(now, self.free[worker]) + cost
        return self.free[worker]

    def begin(self, now: float) -> None:
        """Run all that waits, up to the largest batch."""
        batch = [self.waiting.popleft() for _ in range(min(len(self.waiting), self.setup.largest))]
        for request in batch:
            request.runs = now
        seconds = self.setup.run.seconds(len(batch))
        self.batches.append((seconds, len(batch)))
        self.running = True
        self.later(now + seconds, _RUN_ENDS, batch)


def simulate(setup: Setup, rate: float, *, seconds: float = 2.0, seed: int = 0, bursts: Bursts | None = None) -> Result:
    """Let requests come for so long, and be answered, by a seed."""
    coming = arrivals(rate, seconds, seed, bursts)
    host = _Host(setup, random.Random(f"{seed} costs"), free=[0.0] * setup.workers)
    choice, requests = random.Random(f"{seed} workers"), list[Request]()
    host.later(next(coming), _COMES, None)
    now = 0.0
    while host.events:
        now, _, kind, what = heapq.heappop(host.events)
        if kind == _COMES:
            requests.append(request := Request(now, choice.randrange(setup.workers)))
            host.later(host.work(request.worker, now, setup.before), _WAITS, request)
            if (then := next(coming, None)) is not None:
                host.later(then, _COMES, None)
        elif kind == _WAITS:
            assert isinstance(what, Request)
            what.waits = now
            host.waiting.append(what)
        else:
            assert isinstance(what, list)
            host.running = False
            for request in what:
                request.answered = host.work(request.worker, now, setup.after)
        if kind != _COMES and host.waiting and not host.running:
            host.begin(now)
    return _result(requests[int(_WARM * len(requests)) :], host.batches, now)


def _result(requests: Sequence[Request], batches: Sequence[tuple[float, int]], lasted: float) -> Result:
    times = np.array([request.answered - request.came for request in requests])
    waits = np.array([request.runs - request.waits for request in requests])
    return Result(
        p50=nearest_rank(times, 0.5),
        p99=nearest_rank(times, 0.99),
        wait_mean=float(waits.mean()),
        wait_p99=nearest_rank(waits, 0.99),
        late=float((times > f.BUDGET.value * 1e-3).mean()),
        batch=fmean(size for _, size in batches),
        seen=sum(size * size for _, size in batches) / sum(size for _, size in batches),
        busy=sum(seconds for seconds, _ in batches) / lasted,
    )
