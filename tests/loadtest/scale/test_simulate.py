"""The simulation of one host against what theory says of simple queues."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.scale.online import Run, gpu_run
from loadtest.scale.simulate import Bursts, Setup, arrivals, levels, simulate

MS = 1e-3
NO_PYTHON = Setup(workers=1, before=0.0, after=0.0, run=Run(MS, 0.0), largest=1, spread=0.0)
HOST = Setup(workers=15, before=0.48 * MS, after=0.22 * MS, run=gpu_run(19))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_single_runs_wait_as_long_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: the mean wait is ρ·s / (2·(1 − ρ))."""
    found = simulate(NO_PYTHON, load / MS, seconds=120.0)
    assert found.wait_mean == pytest.approx(load * MS / (2 * (1 - load)), rel=0.06)
    assert found.busy == pytest.approx(load, rel=0.02)
    assert (found.batch, found.seen) == (1, 1)


def test_batches_are_as_large_as_what_comes_during_a_run() -> None:
    """Where the engine never rests, n = rate · (fixed + each · n)."""
    setup, rate = replace(NO_PYTHON, run=gpu_run(19), largest=1_000), 9_000.0
    found = simulate(setup, rate, seconds=4.0)
    assert found.batch == pytest.approx(rate * setup.run.fixed / (1 - rate * setup.run.each), rel=0.02)
    assert found.busy > 0.99


def test_a_request_alone_takes_the_sum_of_its_parts() -> None:
    setup = replace(HOST, spread=0.0)
    found = simulate(setup, 1.0, seconds=200.0)
    assert found.p50 == pytest.approx(setup.before + setup.run.seconds(1) + setup.after)
    assert (found.wait_p99, found.late, found.batch) == (0.0, 0.0, 1.0)


def test_one_worker_is_a_queue_of_its_own() -> None:
    """Half of the rate that one loop can do is easy for two and impossible for a quarter of a loop."""
    instant = replace(HOST, spread=0.0, run=Run(1e-6, 0.0))
    one, two = (simulate(replace(instant, workers=workers), 1_000.0, seconds=5.0) for workers in (1, 2))
    assert two.p99 < one.p99
    assert simulate(replace(instant, workers=1, before=2 * MS), 1_000.0, seconds=2.0).late > 0.9


def test_more_load_waits_longer_and_too_much_is_late() -> None:
    found = [simulate(HOST, rate, seconds=1.0) for rate in (3_000.0, 9_000.0, 14_000.0)]
    assert [r.p99 for r in found] == sorted(r.p99 for r in found)
    assert found[-1].late == 0
    assert simulate(HOST, 20_000.0, seconds=1.0).late > 0.5


def test_requests_see_larger_batches_than_runs_have() -> None:
    found = simulate(HOST, 9_000.0, seconds=1.0, bursts=Bursts(factor=3.0))
    assert found.batch * 1.05 < found.seen <= 64


def test_no_batch_is_larger_than_the_largest() -> None:
    assert simulate(HOST, 40_000.0, seconds=0.3).batch <= 64
    small = replace(HOST, largest=8)
    assert simulate(small, 9_000.0, seconds=0.5).late > simulate(HOST, 9_000.0, seconds=0.5).late


def test_the_same_seed_gives_the_same_result_and_another_another() -> None:
    first, again, other = (simulate(HOST, 5_000.0, seconds=0.5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_bursts_have_the_mean_rate_and_are_the_same_at_every_rate() -> None:
    bursts = Bursts(factor=3.0, share=0.2, seconds=0.05)
    spans = list(levels(400.0, 0, bursts))
    begins = [0.0, *(end for end, _ in spans)]
    busy = sum(end - begin for begin, (end, factor) in zip(begins, spans, strict=False) if factor == 3.0)
    assert busy / 400.0 == pytest.approx(0.2, rel=0.1)
    assert spans[-1][0] == 400.0
    expected = sum(500 * factor * (end - begin) for begin, (end, factor) in zip(begins, spans, strict=False))
    assert sum(1 for _ in arrivals(500.0, 400.0, 0, bursts)) == pytest.approx(expected, rel=0.01)
    assert bursts.share * bursts.factor + (1 - bursts.share) * bursts.quiet == pytest.approx(1.0)


def test_bursts_make_requests_wait() -> None:
    steady = simulate(HOST, 9_000.0, seconds=2.0)
    assert simulate(HOST, 9_000.0, seconds=2.0, bursts=Bursts(factor=3.0)).p99 > 1.5 * steady.p99
