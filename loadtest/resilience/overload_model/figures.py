"""Run policies over the same loads, and take the figures that `overload` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.resilience.overload_model.costs import Costs, Draws, arrivals, neighbours
from loadtest.resilience.overload_model.policy import Policy
from loadtest.resilience.overload_model.server import Request, Server
from loadtest.rig.openloop.window import nearest_rank


@dataclass(frozen=True, slots=True)
class Load:
    """A goodput in requests/s, and the overload: `factor` times it for `seconds`, with 0.7 times it around."""

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
    """The figures of one policy under one seed; times are in ms, rates in 1/s."""

    before_p99: float
    p50: float
    p99: float
    full: float
    refused: float
    degraded: dict[str, float]
    after_p99: float


def simulate(policy: Policy, costs: Costs, load: Load, seed: int) -> Run:
    """Run the model once."""
    dues = arrivals(load.phases, seed, poisson=load.poisson)
    end = load.around + load.seconds
    server = Server(policy, costs, Draws(costs, seed), dues)
    server.run(end + load.around + 1.0, neighbours(costs, end + load.around + 1.0, seed))
    during = [r for r in server.requests if load.around <= r.due < end]
    counts = Counter(r.outcome for r in during)
    times = lists(during)
    return Run(
        before_p99=nearest_rank(lists([r for r in server.requests if r.due < load.around]), 0.99),
        p50=nearest_rank(times, 0.5),
        p99=nearest_rank(times, 0.99),
        full=counts["full"] / load.seconds,
        refused=(counts["shed"] + counts["overloaded"]) / load.seconds,
        degraded={reason: counts[reason] / load.seconds for reason in ("deadline", "wait")},
        after_p99=nearest_rank(lists([r for r in server.requests if r.due >= end + 2.0]), 0.99),
    )


def lists(requests: Sequence[Request]) -> list[float]:
    """Return the times of the lists in ms, from when each request was due."""
    return [(r.ended - r.due) * 1e3 for r in requests if r.outcome in ("full", "deadline", "wait")]
