"""A worker estimates how long a job will take, by its own jobs and by what the engine process says of others."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from service.inference.dispatcher import DeadlineNear
from service.inference.engine import Engine
from service.inference.run_times import RunTimes
from tests.service.engines.processes import (
    Held,
    Worker,
    busy,
    engine_process,
    in_loop,
    until,
    waiting,
    worker,
)


def test_the_estimate_grows_with_the_jobs_of_this_worker(path: Path) -> None:
    engine = Held(largest_batch=1)

    async def work() -> None:
        async with engine_process(path, m=engine), worker(path) as one:
            remote = one.engine()
            assert one.dispatcher.idle
            assert one.link.seconds_until_done(remote) == 0
            assert one.link.run_seconds(remote) == 0
            await one.ask(1)
            await until(lambda: one.link.idle)
            single = one.link.seconds_until_done(remote)
            assert 0 < single <= one.link.run_seconds(remote)
            assert one.dispatcher.seconds_until_done(remote) == 0, "an idle one is always tried"
            async with busy(one, engine):
                assert not one.link.idle
                tasks = one.asks(2, 3) + one.asks(4, 5, 6, background=True)
                await until(lambda: one.link.depth == 6)
                assert one.link.in_background == 3
                assert one.dispatcher.seconds_until_done(remote) == pytest.approx(4 * single)
                assert one.dispatcher.seconds_until_done(remote, background=True) == pytest.approx(7 * single)
            await asyncio.gather(*tasks)
            assert one.link.in_background == 0
            await until(lambda: one.dispatcher.idle)

    in_loop(work)


def test_the_estimate_grows_with_what_the_process_says_of_the_jobs_of_others(path: Path) -> None:
    engine = Held(largest_batch=1)

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one, worker(path) as other:
            process.thread._times.add(engine, 1, 1000.0)
            engine.held |= {100, 101}
            others = other.asks(100)
            await until(lambda: waiting(process) == 1)
            own = one.asks(1)
            await until(lambda: waiting(process) == 2)
            others += other.asks(101, 102, 103)
            await until(lambda: waiting(process) == 5)
            engine.held.discard(100)
            assert await asyncio.gather(*own) == [2]
            assert not one.link.idle, "those of others wait"
            assert one.dispatcher.seconds_until_done(one.engine()) > 500
            engine.held.clear()
            await asyncio.gather(*others)

    in_loop(work)


class Learnt(RunTimes):
    """Notes of how many jobs each run was."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[int] = []

    def add(self, engine: Engine, jobs: int, seconds: float) -> None:
        self.jobs.append(jobs)
        super().add(engine, jobs, seconds)


def test_a_run_is_learnt_once_for_all_its_jobs(path: Path) -> None:
    engine = Held(largest_batch=4)

    async def work() -> list[int]:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            remote = one.engine()
            one.link._times = learnt = Learnt()
            async with busy(one, engine):
                tasks = one.asks(1, 2, 3)
                await until(lambda: waiting(process) == 4)
            await asyncio.gather(*tasks)
            assert remote.largest_batch == 4
            return learnt.jobs

    assert in_loop(work) == [1, 3]


def test_a_run_whose_jobs_were_all_withdrawn_is_learnt_by_every_worker_that_had_one_in_it(path: Path) -> None:
    """Else runs that have become too slow would never be known to be: all their answers are late."""
    engine = Held(largest_batch=4)

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one, worker(path) as other:
            workers = (one, other)
            async with busy(one, engine):
                engine.held |= {1, 2, 3}
                tasks = [*one.asks(1, 2), *other.asks(3)]
                await until(lambda: waiting(process) == 4)
            await until(lambda: len(engine.batches) == 2)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for asker in workers:
                asker.link._times = Learnt()
            remote = one.engine(), other.engine()
            await until(lambda: not waiting(process))
            engine.held.clear()
            await until(lambda: all(asker.link.run_seconds(r) for asker, r in zip(workers, remote, strict=True)))
            assert [asker.link._times.jobs for asker in workers if isinstance(asker.link._times, Learnt)] == [[3], [3]]

    in_loop(work)


async def late(one: Worker, engine: Held, x: int) -> None:
    """Ask what takes longer than its deadline, until `engine` is let go."""
    engine.held.add(x)
    (task,) = one.asks(x, deadline=time.perf_counter() + 0.5)
    with pytest.raises(DeadlineNear):
        await task
    assert engine.batches[-1] == [x], "it has begun"


def test_an_engine_that_becomes_slow_is_known_to_be_though_all_answers_are_late(path: Path) -> None:
    engine = Held()

    async def work() -> None:
        async with engine_process(path, m=engine), worker(path) as one:
            one.link._times = learnt = Learnt()
            learnt.add(remote := one.engine(), 1, 0.001)
            for x in (1, 2, 3):
                await late(one, engine, x)
                before = len(learnt.jobs)
                engine.held.clear()
                await until(lambda: len(learnt.jobs) > before)  # noqa: B023 - called in this turn only
            assert one.link.run_seconds(remote) > 0.003
            assert one.link.seconds_until_done(remote) > 0.003

    in_loop(work)


def test_a_process_at_work_on_what_was_withdrawn_is_not_idle(path: Path) -> None:
    engine = Held()

    async def work() -> None:
        async with engine_process(path, m=engine), worker(path) as one:
            one.link._times.add(remote := one.engine(), 1, 1000.0)
            await late(one, engine, 1)
            assert one.link.depth == 0
            assert not one.dispatcher.idle
            assert one.dispatcher.seconds_until_done(remote) > 1000 + 500
            engine.held.clear()
            await until(lambda: one.dispatcher.idle)

    in_loop(work)


def test_the_process_is_not_idle_while_another_worker_has_jobs_in_the_background(path: Path) -> None:
    """Else the shadow of this worker would run beside that of the other."""
    engine = Held(largest_batch=1)

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one, worker(path) as other:
            process.thread._times.add(engine, 1, 1000.0)
            remote = one.engine()
            one.link._times.add(remote, 1, 1.0)
            engine.held |= {1, 101}
            own = one.asks(1)
            await until(lambda: engine.batches)
            others = other.asks(101, 102, 103, background=True)
            await until(lambda: waiting(process) == 4)
            engine.held.discard(1)
            assert await asyncio.gather(*own) == [2]
            assert one.link.depth == 0
            assert not one.link.idle
            assert one.link.seconds_until_done(remote, background=True) > 900, "no more than one of them runs"
            engine.held.clear()
            await asyncio.gather(*others)

    in_loop(work)
