"""Run policies over the same loads, and take the figures that `loadtest.resilience.overload` takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

import numpy as np

from loadtest.resilience.overload import PIECE, RECOVERED, RECOVERY_SECONDS, STEP
from loadtest.resilience.overload_model.costs import Costs, Draws, arrivals, neighbours
from loadtest.resilience.overload_model.policy import Policy
from loadtest.resilience.overload_model.server import Request, Server
from loadtest.rig.openloop.window import nearest_rank
from loadtest.rig.subject import markdown

LISTS: Final = ("full", "deadline", "wait")
HEAD: Final = (
    "policy",
    "p50 ms",
    "p99 ms",
    "full/s",
    "refused/s",
    "deadline/s",
    "wait/s",
    "back after s",
    "later p99 ms",
)


@dataclass(frozen=True, slots=True)
class Load:
    """A goodput in requests/s, and `factor` times it for `seconds`.

    Before and after come 0.7 times it, each for `around` seconds.
    """

    goodput: float = 147.0
    factor: float = 3.0
    seconds: float = 60.0
    around: float = 10.0
    poisson: bool = False

    @property
    def phases(self) -> list[tuple[float, float]]:
        base = 0.7 * self.goodput, self.around
        return [base, (self.factor * self.goodput, self.seconds), base]


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one policy under one seed.

    Times are in ms, rates in 1/s, `back` in seconds after the overload.
    """

    p50: float
    p99: float
    full: float
    refused: float
    deadline: float
    wait: float
    back: float
    later_p99: float
    before_p99: float


def simulate(policy: Policy, costs: Costs, load: Load, seed: int) -> Run:
    """Run the model once."""
    end = load.around + load.seconds
    lasts = end + load.around
    server = Server(policy, costs, Draws(costs, seed), arrivals(load.phases, seed, poisson=load.poisson))
    server.run(lasts + 1.0, neighbours(costs, lasts + 1.0, seed))
    during = _between(server.requests, load.around, end)
    counts = Counter(request.outcome for request in during)
    before = _p99(_between(server.requests, 0.0, load.around))
    return Run(
        p50=nearest_rank(times_ms(during), 0.5),
        p99=_p99(during),
        full=counts["full"] / load.seconds,
        refused=(counts["shed"] + counts["overloaded"]) / load.seconds,
        deadline=counts["deadline"] / load.seconds,
        wait=counts["wait"] / load.seconds,
        back=_back(server.requests, end, load.around, before),
        later_p99=_p99(_between(server.requests, end + RECOVERY_SECONDS, lasts)),
        before_p99=before,
    )


def times_ms(requests: Sequence[Request]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the times of the lists in ms, from when each request was due."""
    return np.array([(r.ended - r.due) * 1e3 for r in requests if r.outcome in LISTS])


def _p99(requests: Sequence[Request]) -> float:
    return nearest_rank(times_ms(requests), 0.99)


def _between(requests: Sequence[Request], begin: float, end: float) -> list[Request]:
    return [request for request in requests if begin <= request.due < end]


def _back(requests: Sequence[Request], end: float, seconds: float, reference: float) -> float:
    """Return when a piece is first back within 1.2 times the p99 before."""
    for k in range(round((seconds - PIECE) / STEP) + 1):
        begin = end + k * STEP
        if _p99(_between(requests, begin, begin + PIECE)) <= RECOVERED * reference:
            return k * STEP + PIECE
    return math.inf


def row(policy: Policy, runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a policy's line: means over its runs, and the range of p99."""
    values = {name: [getattr(run, name) for run in runs] for name in Run.__dataclass_fields__}
    p99 = f"{mean(values['p99']):.2f} ({min(values['p99']):.2f} to {max(values['p99']):.2f})"
    rates = (f"{mean(values[name]):.1f}" for name in ("full", "refused", "deadline", "wait", "back"))
    return (policy.name, f"{mean(values['p50']):.2f}", p99, *rates, f"{mean(values['later_p99']):.2f}")


def table(found: Sequence[tuple[Policy, Sequence[Run]]]) -> str:
    """Return all policies as Markdown."""
    return markdown(HEAD, [row(policy, runs) for policy, runs in found])
