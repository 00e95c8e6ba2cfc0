"""Measured costs to a safe rate and a number of workers; arithmetic only.

One worker is an event loop, which spends c seconds of CPU on a request outside the engine, and one inference thread,
which runs batches in T(n) = a + b·n. Whenever the engine is free it takes all that waits, at most M; there is no timer.

- *One CPU per worker*: loop and engine share it, so the work of a batch is one server with T(n) = a + (b + c)·n, and a
  rate λ keeps it busy for λ·(a/B + b + c) of the time, B being the mean batch that forms by itself.
- *Two CPUs per worker*: the loop (c per request, one at a time) and the engine (a + b·n) work side by side, one behind
  the other.

`loadtest.queueing` says how long a request stays in such servers. To that comes what this host adds even to a service
without load: the spread of response times with one request at a time, taken as measured. The safe rate is the highest
whose p99 is within the budget less a reserve, which is the time before the deadline at which the service stops waiting
for its model. *The largest batch that fits* is the one for which the worst that a steady load brings, one whole run to
wait for and one of its own, is within it.

a is not the bare engine's: inside a service a run meets cold caches and is woken up, which costs the same for every
run, whatever its size. What the inference thread really used per request, one at a time, less T(1), is added to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.queueing import BatchServer, Grid, Mass, safe_rate

P99: Final = 0.99


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds. `fixed` + `each`·n is a run of n requests inside the service; `outside` is the loop's, per request.

    `spread` holds what single requests took beyond the fastest half's slowest, on a service without other load.
    """

    fixed: float
    each: float
    outside: float
    spread: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, slots=True)
class Worker:
    """How a worker is run: `cpus` of its own, batches of at most `max_batch`, and seconds to answer in."""

    cpus: int = 1
    max_batch: int = 8
    budget: float = 0.019
    reserve: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus not in (1, 2):
            raise ValueError(f"--cpus: a worker has 1 or 2 threads that compute, so 1 or 2 CPUs, not {self.cpus}")
        if self.max_batch < 1:
            raise ValueError(f"--max-batch: must be at least 1, not {self.max_batch}")
        if not 0 <= self.reserve < self.budget:
            raise ValueError(
                f"--reserve-ms: must be at least 0 and under the budget of {self.budget * 1e3:g} ms, "
                f"not {self.reserve * 1e3:g}"
            )

    @property
    def usable(self) -> float:
        """Seconds within which the model's answer counts."""
        return self.budget - self.reserve


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests a second of one worker, the batch that fits, and workers: on the host, and for a rate asked for."""

    capacity: float
    safe_rate: float
    utilisation: float
    largest_batch: int
    workers: int
    host_rate: float
    workers_for_rate: int | None


def make_plan(costs: Costs, worker: Worker, *, host_cpus: int, rate: float | None = None) -> Plan:
    """The plan. Raises `ValueError` if `rate` is not positive, or asked of a worker that keeps no rate at all."""
    if rate is not None and rate <= 0:
        raise ValueError(f"--rate: must be positive, not {rate:g}")
    servers = servers_of(costs, worker)
    safe = safe_rate(servers, worker.usable, quantile=P99, extra=spread_mass(costs.spread, worker.usable))
    if rate is not None and safe == 0:
        raise ValueError(f"--rate: no number of workers keeps {worker.usable * 1e3:g} ms here, whatever the rate")
    capacity = min(server.capacity for server in servers)
    workers = host_cpus // worker.cpus
    return Plan(
        capacity=capacity,
        safe_rate=safe,
        utilisation=safe / capacity,
        largest_batch=largest_batch(costs, worker),
        workers=workers,
        host_rate=workers * safe,
        workers_for_rate=None if rate is None else math.ceil(rate / safe),
    )


def servers_of(costs: Costs, worker: Worker) -> list[BatchServer]:
    """The queues that a request passes, one behind the other."""
    if worker.cpus == 1:
        return [BatchServer(costs.fixed, costs.each + costs.outside, worker.max_batch)]
    return [BatchServer(0.0, costs.outside, 1), BatchServer(costs.fixed, costs.each, worker.max_batch)]


def largest_batch(costs: Costs, worker: Worker) -> int:
    """The largest n, up to the worker's, with 2·T(n) plus the loop's work within the budget; 0 if not even 1 fits."""
    shared = worker.cpus == 1
    each = costs.each + (costs.outside if shared else 0.0)
    left = worker.usable - 2 * costs.fixed - (0.0 if shared else costs.outside)
    if each == 0:
        return worker.max_batch if left >= 0 else 0
    return max(0, min(worker.max_batch, math.floor(left / (2 * each) + 1e-9)))


def spread_mass(spread: Sequence[float], budget: float) -> Mass:
    """The distribution of the measured spread, on the grid of `loadtest.queueing.safe_rate`."""
    times = np.asarray(spread, np.float64)
    return Grid.around(budget).histogram(times, np.full(len(times), 1 / len(times)))


def spread_of(times: Sequence[float]) -> tuple[float, ...]:
    """By how much each time is over their median, 0 for those under it."""
    values = np.asarray(times, np.float64)
    return tuple(np.maximum(values - np.median(values), 0).tolist())
