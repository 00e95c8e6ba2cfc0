"""Each engine's runs are learnt by themselves, and forgotten with the engine."""

from __future__ import annotations

import gc
import weakref

import pytest

from service.inference.run_times import RunTimes
from tests.service.inference.test_engine import Recorder


def test_an_engine_that_has_not_run_takes_no_time_and_learns_nothing_from_others() -> None:
    times, one, other = RunTimes(), Recorder(), Recorder()
    times.add(one, 1, 2.0)
    assert times.of(one).predict(1) == pytest.approx(2)
    assert times.of(other).predict(1) == 0
    assert times.of_jobs(other, 9) == 0
    assert RunTimes().of(one).predict(1) == 0


def test_jobs_take_full_batches_and_one_of_the_rest() -> None:
    times, engine = RunTimes(), Recorder(largest_batch=4)
    for _ in range(20):
        for jobs in (1, 2, 3, 4):
            times.add(engine, jobs, 1.0 + jobs)
    assert [times.of_jobs(engine, jobs) for jobs in (0, 1, 4, 5, 8, 10)] == pytest.approx([0, 2, 5, 7, 10, 13])


def test_an_engine_is_forgotten_with_its_last_reference() -> None:
    times, engine = RunTimes(), Recorder()
    times.add(engine, 1, 2.0)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert times.of(Recorder()).predict(1) == 0
