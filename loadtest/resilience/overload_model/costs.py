"""State the CPU times that the model charges, and what else the machine does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU times in seconds, of the machine at half speed.

    It is the machine of the overload in docs/performance.md.

    - From the fit there of runs inside the service, T(n) = 2.76 + 0.71·n ms: `run_fixed` and `run_each`.
    - From its 1.49 ms of CPU outside the engine: `head`, `body`, `prepare`, `deliver`, `respond` and `gather`, divided
      as stages of requests are. `formula` is a list without the model.
    - `turn` is one turn of the event loop, `slice` that of the system's scheduler for two CPUs, `switch` the
      interpreter's interval.
    - Assumed: `spread`, the standard deviation of the logarithm of every cost, whose medians these are; and a neighbour
      that takes the CPU `stolen_rate` times a second, for `stolen` on average.

    Costs and neighbour were chosen by comparing short runs with the rates that are published there.
    """

    head: float = 0.08 * MS
    body: float = 0.10 * MS
    prepare: float = 0.90 * MS
    deliver: float = 0.05 * MS
    respond: float = 0.45 * MS
    formula: float = 0.40 * MS
    gather: float = 0.15 * MS
    run_fixed: float = 2.85 * MS
    run_each: float = 0.71 * MS
    turn: float = 0.02 * MS
    spread: float = 0.25
    stolen_rate: float = 3.0
    stolen: float = 2.0 * MS
    slice: float = 1.4 * MS
    switch: float = 5.0 * MS
    largest_batch: int = 8

    def run(self, batch: int) -> float:
        """Return the median time of one run of the engine."""
        return self.run_fixed + self.run_each * batch


class Draws:
    """Draw costs by a seed.

    The n-th cost of one kind is the same for every policy.
    """

    def __init__(self, costs: Costs, seed: int) -> None:
        self._spread = costs.spread
        self._streams: dict[str, random.Random] = {}
        self._seed = seed

    def cost(self, kind: str, median: float) -> float:
        """Return the next cost of this kind."""
        stream = self._streams.get(kind)
        if stream is None:
            stream = self._streams[kind] = random.Random(f"{self._seed} {kind}")
        return median * stream.lognormvariate(0.0, self._spread)


def neighbours(costs: Costs, seconds: float, seed: int) -> list[tuple[float, float]]:
    """Return when the CPU is taken away, and for how long."""
    stream, now = random.Random(f"{seed} neighbours"), 0.0
    found = []
    while costs.stolen_rate and (now := now + stream.expovariate(costs.stolen_rate)) < seconds:
        found.append((now, stream.expovariate(1 / costs.stolen)))
    return found


def arrivals(phases: Sequence[tuple[float, float]], seed: int, *, poisson: bool) -> list[float]:
    """Return when requests are due, evenly or at random.

    A phase has a rate and a length in seconds.
    """
    stream = random.Random(f"{seed} arrivals")
    found, begin = [], 0.0
    for rate, seconds in phases:
        now = begin
        while (now := now + (stream.expovariate(rate) if poisson else 1 / rate)) < begin + seconds:
            found.append(now)
        begin += seconds
    return found
