"""State what the model charges: CPU times of the two threads, and what else the machine does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU times in seconds, medians where `spread` applies.

    `spread` is the standard deviation of the logarithm of every single cost. A neighbour of the machine takes the CPU
    `stolen_rate` times a second, for `stolen` seconds on average, exponentially distributed.
    """

    head: float = 0.10 * MS
    refuse: float = 0.25 * MS
    body: float = 0.10 * MS
    prepare: float = 0.85 * MS
    deliver: float = 0.05 * MS
    respond: float = 0.45 * MS
    formula: float = 0.40 * MS
    gather: float = 0.15 * MS
    run_fixed: float = 2.60 * MS
    run_each: float = 0.71 * MS
    turn: float = 0.02 * MS
    spread: float = 0.25
    stolen_rate: float = 8.0
    stolen: float = 1.2 * MS
    slice: float = 1.4 * MS
    switch: float = 5.0 * MS

    def run(self, batch: int) -> float:
        """Return the median time of one run of the engine."""
        return self.run_fixed + self.run_each * batch


class Draws:
    """Draw costs; the n-th cost of one kind is the same for every policy with this seed."""

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
    """Return when the CPU is taken away, and for how long, in the order of time."""
    stream, now = random.Random(f"{seed} neighbours"), 0.0
    found = []
    while costs.stolen_rate and (now := now + stream.expovariate(costs.stolen_rate)) < seconds:
        found.append((now, stream.expovariate(1 / costs.stolen)))
    return found


def arrivals(phases: Sequence[tuple[float, float]], seed: int, *, poisson: bool) -> list[float]:
    """Return when requests are due, evenly or at random; a phase has a rate and a length in seconds."""
    stream = random.Random(f"{seed} arrivals")
    found, begin = [], 0.0
    for rate, seconds in phases:
        now = begin
        while (now := now + (stream.expovariate(rate) if poisson else 1 / rate)) < begin + seconds:
            found.append(now)
        begin += seconds
    return found
