"""The plan's arithmetic against discrete-event simulations that share no code with it."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from loadtest.queueing import BatchServer, Grid, poisson, safe_rate, sojourn

Times = NDArray[np.float64]
BUDGET = 0.019
ENGINE = BatchServer(0.0008, 0.0006, 8)


def arrivals(rate: float, count: int, seed: int) -> Times:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


def simulate(times: Times, fixed: float, each: float, largest: int) -> Times:
    """Latency of every request: a server that takes all that waits, at most `largest`."""
    done = np.empty(len(times))
    first, clock = 0, 0.0
    while first < len(times):
        clock = max(clock, times[first])
        last = first + 1
        while last < len(times) and last - first < largest and times[last] <= clock:
            last += 1
        clock += fixed + each * (last - first)
        done[first:last] = clock
        first = last
    return done - times


def simulate_shared_core(times: Times, fixed: float, each: float, outside: float, largest: int) -> Times:
    """One core: half of a request's work outside the engine comes before it, half after, and goes first.

    The engine's run stands still meanwhile. Returns latencies.
    """
    work = [(float(t), i) for i, t in enumerate(times)]  # what the event loop has to do, by time
    heapq.heapify(work)
    answered: dict[int, bool] = {}
    waiting: list[int] = []
    running: list[int] = []
    left, clock = 0.0, 0.0
    done = np.empty(len(times))
    while work or waiting or running:
        if work and work[0][0] <= clock:
            _, i = heapq.heappop(work)
            clock += outside / 2
            if answered.get(i):
                done[i] = clock
            else:
                waiting.append(i)
            continue
        if not running and waiting:
            running, waiting = waiting[:largest], waiting[largest:]
            left = fixed + each * len(running)
        until = work[0][0] - clock if work else math.inf
        step = min(left, until) if running else until
        clock += step
        if running:
            left -= step
            if left <= 1e-12:
                for i in running:
                    answered[i] = True
                    heapq.heappush(work, (clock, i))
                running = []
    return done - times


@pytest.mark.parametrize("utilisation", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("server", [ENGINE, BatchServer(0.0, 0.0013, 1), BatchServer(0.004, 0.0001, 32)])
def test_latency_is_that_of_a_simulation(server: BatchServer, utilisation: float) -> None:
    rate = utilisation * server.capacity
    simulated = simulate(arrivals(rate, 200_000, 1), server.fixed, server.each, server.largest)
    grid = Grid(2e-5, 4000)
    mass = sojourn(server, rate, grid)
    assert mass.sum() == pytest.approx(1)
    for q in (0.5, 0.9, 0.99):
        assert grid.quantile(mass, q) == pytest.approx(np.quantile(simulated, q), rel=0.03, abs=4e-5), q


def test_a_lone_request_takes_one_run_of_its_own() -> None:
    grid = Grid(1e-5, 2000)
    assert grid.quantile(sojourn(ENGINE, 0.01, grid), 0.99) == pytest.approx(0.0014, abs=2e-5)


def test_the_safe_rate_keeps_the_budget_in_a_simulation_and_a_higher_one_does_not() -> None:
    rate = safe_rate([ENGINE], BUDGET)
    p99 = {
        x: np.quantile(simulate(arrivals(x * rate, 400_000, 2), ENGINE.fixed, ENGINE.each, 8), 0.99)
        for x in (0.96, 1.04)
    }
    assert p99[0.96] < BUDGET < p99[1.04]


def test_one_core_that_works_between_and_during_runs_holds_the_planned_rate_to_a_tenth() -> None:
    a, b, outside = 0.0008, 0.0006, 0.0005
    rate = safe_rate([BatchServer(a, b + outside, 8)], BUDGET)
    p99 = {
        x: np.quantile(simulate_shared_core(arrivals(x * rate, 200_000, 3), a, b, outside, 8), 0.99) for x in (0.9, 1.1)
    }
    assert p99[0.9] < BUDGET < p99[1.1]


def test_a_loop_and_an_engine_on_cores_of_their_own_hold_the_planned_rate_to_a_tenth() -> None:
    outside = 0.0005
    rate = safe_rate([BatchServer(0.0, outside, 1), ENGINE], BUDGET)
    assert rate > 1.15 * safe_rate([BatchServer(ENGINE.fixed, ENGINE.each + outside, 8)], BUDGET)

    def p99(offered: float) -> float:
        times = arrivals(offered, 200_000, 4)
        decoded = times + simulate(times, 0.0, outside, 1)
        return float(np.quantile(decoded + simulate(decoded, ENGINE.fixed, ENGINE.each, 8) - times, 0.99))

    assert p99(0.9 * rate) < BUDGET < p99(1.1 * rate)


def test_what_is_added_to_every_request_is_taken_from_the_budget() -> None:
    grid = Grid.around(BUDGET)
    added = grid.histogram(np.array([0.009]), np.array([1.0]))
    with_added = safe_rate([ENGINE], BUDGET, extra=added)
    assert with_added == pytest.approx(safe_rate([ENGINE], 0.010), rel=0.03)


def test_no_rate_is_safe_for_a_server_that_is_too_slow_and_any_for_one_that_is_quick_enough() -> None:
    assert safe_rate([BatchServer(0.02, 0.001, 8)], BUDGET) == 0
    quick = BatchServer(0.0, 1e-6, 1)
    assert safe_rate([quick], BUDGET) == pytest.approx(quick.capacity, rel=0.05)


@pytest.mark.parametrize("rate", [0.0, -1.0, ENGINE.capacity, 1e9])
def test_a_rate_outside_the_capacity_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate: must be between 0 and the capacity"):
        sojourn(ENGINE, rate, Grid.around(BUDGET))


@pytest.mark.parametrize("server", [(-1.0, 1.0, 1), (0.0, 0.0, 1), (1.0, 1.0, 0)])
def test_a_server_that_cannot_be_is_refused(server: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="a server needs"):
        BatchServer(*server)


def test_poisson_is_the_formula_and_nothing_is_below_zero() -> None:
    found = poisson(np.array([-1, 0, 1, 4]), np.array(2.5))
    expected = [0.0, *(math.exp(-2.5) * 2.5**k / math.factorial(k) for k in (0, 1, 4))]
    assert found == pytest.approx(expected)
    assert poisson(np.array([0, 1]), np.array(0.0)) == pytest.approx([1, 0])
