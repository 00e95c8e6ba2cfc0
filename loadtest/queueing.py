"""How long a request stays in a server that batches without a timer, by arithmetic instead of by simulation.

The server is one resource: whenever it is free it takes all that waits, at most M, and needs T(n) = fixed + each·n
seconds for n requests; when nothing waits it idles until the next arrival. Arrivals are Poisson with rate λ.

*Cycles.* Let n be the number waiting as a run starts, and B = min(n, M) the number taken. While it runs, k ~
Poisson(λ·T(B)) requests arrive, so the next run starts with n' = max(n − B + k, 1): if nothing is left, the server
idles until one request arrives. That is a Markov chain; π is its stationary distribution. The fixed point B = λ·T(B)
that one would write down for averages is the mean of this chain where M does not bind.

*One request.* A cycle that starts with n sees λ·T(B) arrivals on average during its run, each at an even offset u, and
one arrival to an idle server with the probability that nothing is left. The latter takes T(1). The former waits for
T(B) − u, finds p = (n − B) + Poisson(λ·u) requests before it, sits through ⌊p / M⌋ full runs, and then shares a run
with the p mod M that are before it and with those that come until that run starts.

Queues in a row (the event loop, then the engine) are treated as independent, and their times are convolved. It knows
nothing about services, ONNX Runtime or HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mass = NDArray[np.float64]
"""Probability per bin of `Grid.step` seconds; the last bin holds all that is later."""

_OFFSETS: Final = 24
_BISECTIONS: Final = 18
_MOST_STATES: Final = 400


@dataclass(frozen=True, slots=True)
class BatchServer:
    """T(n) = `fixed` + `each`·n seconds for n requests at once, `largest` at most."""

    fixed: float
    each: float
    largest: int

    def __post_init__(self) -> None:
        if self.fixed < 0 or self.each < 0 or self.fixed + self.each <= 0 or self.largest < 1:
            raise ValueError(
                f"a server needs times of at least 0, not both 0, and a largest batch of at least 1: {self}"
            )

    def seconds(self, requests: int) -> float:
        """T(n)."""
        return self.fixed + self.each * requests

    @property
    def capacity(self) -> float:
        """Requests a second that it can never exceed: M / T(M)."""
        return self.largest / self.seconds(self.largest)


@dataclass(frozen=True, slots=True)
class Grid:
    """Latencies in bins of `step` seconds, up to `bins` of them."""

    step: float
    bins: int

    @classmethod
    def around(cls, budget: float) -> Grid:
        """Fine enough for a budget in seconds, and twice as long: 0.25% of it a bin."""
        return cls(budget / 400, 800)

    def histogram(self, seconds: NDArray[np.float64], weights: Mass) -> Mass:
        """Mass per bin of weighted times."""
        # A hair is taken off so that a time on a bin's upper edge stays in it, whatever the rounding.
        place = np.clip(np.ceil(seconds / self.step - 1e-9).astype(np.int64) - 1, 0, self.bins - 1)
        return np.asarray(np.bincount(place.ravel(), weights.ravel(), self.bins), np.float64)

    def sum(self, masses: Sequence[Mass]) -> Mass:
        """The distribution of a sum of independent times."""
        total = masses[0]
        for mass in masses[1:]:
            whole = np.convolve(total, mass)
            total = np.append(whole[: self.bins - 1], whole[self.bins - 1 :].sum())
        return total

    def quantile(self, mass: Mass, q: float) -> float:
        """The upper edge of the bin that holds the quantile; infinite if that is the last."""
        place = int(np.searchsorted(np.cumsum(mass) / mass.sum(), q))
        return (place + 1) * self.step if place < self.bins - 1 else math.inf


def sojourn(server: BatchServer, rate: float, grid: Grid) -> Mass:
    """The distribution of the time from arrival to answer at `rate` requests a second.

    Raises `ValueError` for a rate that is not between 0 and the server's capacity.
    """
    if not 0 < rate < server.capacity:
        raise ValueError(f"rate: must be between 0 and the capacity of {server.capacity:g}, not {rate:g}")
    states = _states(server, grid)
    chain, idle = _chain(server, rate, states)
    share = _stationary(chain)
    mass = np.zeros(grid.bins)
    alone = np.array([server.seconds(1)])
    mass += grid.histogram(alone, np.array([share @ idle]))
    for n in range(1, states + 1):
        run = server.seconds(min(n, server.largest))
        arrivals = share[n - 1] * rate * run
        if arrivals > 1e-12:
            seconds, weights = _behind(server, rate, n, states)
            mass += grid.histogram(seconds, weights * arrivals)
    return np.asarray(mass / mass.sum())


def safe_rate(
    servers: Sequence[BatchServer], budget: float, *, quantile: float = 0.99, extra: Mass | None = None
) -> float:
    """The highest rate whose `quantile` of the time through all `servers` is within `budget` seconds; 0 if none is.

    `extra` is the distribution, on `Grid.around(budget)`, of a time that is added to every request's.
    """
    grid = Grid.around(budget)
    added = [] if extra is None else [extra]

    def keeps(rate: float) -> bool:
        times = [sojourn(server, rate, grid) for server in servers]
        return grid.quantile(grid.sum([*times, *added]), quantile) <= budget

    low, high = 0.0, min(server.capacity for server in servers) * (1 - 1e-6)
    if keeps(high):
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def _states(server: BatchServer, grid: Grid) -> int:
    """Waiting requests to tell apart: behind more than this nobody is answered within the grid.

    A server so quick that hundreds would be is told apart no further: its queue is never that long within a budget.
    """
    runs = math.ceil(grid.step * grid.bins / server.seconds(server.largest))
    return max(4 * server.largest, min(server.largest * (runs + 2), _MOST_STATES), 32)


def _chain(server: BatchServer, rate: float, states: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transitions [n, n'] between the numbers waiting (row 0 is n = 1), and per n the chance that nothing is left."""
    counts = np.arange(states + 1)
    chain = np.zeros((states, states + 1))
    for n in range(1, states + 1):
        taken = min(n, server.largest)
        left = n - taken
        arriving = poisson(counts, np.array(rate * server.seconds(taken)))
        chain[n - 1, left:] = arriving[: states + 1 - left]
        chain[n - 1, -1] += max(0.0, 1 - chain[n - 1].sum())
    idle = chain[:, 0].copy()
    chain[:, 1] += idle
    return chain[:, 1:], idle


def _stationary(chain: NDArray[np.float64]) -> NDArray[np.float64]:
    """π with π·P = π and sum 1."""
    size = len(chain)
    system = chain.T - np.eye(size)
    system[-1] = 1
    share = np.linalg.solve(system, np.eye(size)[-1])
    return np.asarray(np.clip(share, 0, None) / np.clip(share, 0, None).sum())


def _behind(server: BatchServer, rate: float, n: int, states: int) -> tuple[NDArray[np.float64], Mass]:
    """Times and weights (sum 1) of requests that arrive during a run which started with n waiting.

    Axes: offset into the run, requests that came before in the same run, size of the run that takes the request.
    """
    largest = server.largest
    taken = min(n, largest)
    run = server.seconds(taken)
    offset = (np.arange(_OFFSETS)[:, None, None] + 0.5) / _OFFSETS * run
    before = np.arange(states)[None, :, None]
    ahead = n - taken + before
    start = run - offset + ahead // largest * server.seconds(largest)
    size = np.arange(1, largest + 1)[None, None, :]
    later = poisson(size - 1 - ahead % largest, rate * start)
    later[..., -1] = np.clip(1 - later[..., :-1].sum(axis=-1), 0, 1)
    weights = poisson(before, rate * offset) * later / _OFFSETS
    return start + server.fixed + server.each * size, weights


def poisson(count: NDArray[np.int64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(Poisson(mean) = count), 0 for a negative count; shapes broadcast."""
    top = int(count.max(initial=0)) + 1
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, top + 1)))])
    known = np.maximum(count, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(known == 0, 0.0, known * np.log(mean)) - mean - log_factorial[known]
    return np.where(count < 0, 0.0, np.exp(log))
