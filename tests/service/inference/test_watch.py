"""The watch over the engine: what is a hang, what is none, and what becomes of those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import numpy as np
import pytest

from service.inference import thread as thread_module
from service.inference import watch as watching
from service.inference.aside import ASIDE, run_aside
from service.inference.dispatcher import Dispatcher
from service.inference.engine import EngineError
from service.inference.thread import InferenceThread
from service.inference.watch import EngineWatch, threads_left
from tests.service.inference.test_engine import Recorder, row

MODEL = "tiny 1"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A thread at work on a run that does not end, and a watch whose clock stands still."""

    def __init__(self, clock: Clock, *, hang_seconds: float, load_seconds: float, known: bool) -> None:
        self.clock = clock
        self.engine = Recorder()
        self.thread = InferenceThread()
        self.dispatcher = Dispatcher(self.thread)
        self.reasons: list[str] = []
        self.watch = EngineWatch(
            self.thread, hang_seconds=hang_seconds, load_seconds=load_seconds, on_hang=self.reasons.append
        )
        if known:
            self.watch.know(self.engine, MODEL)

    def pass_time(self, seconds: float, tick: float) -> bool:
        """Look every `tick` seconds, so often."""
        for _ in range(round(seconds / tick)):
            self.clock.now += tick
            self.watch.look()
        return self.watch.hung


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watching, "perf_counter", made)
    return made


def bench(
    clock: Clock,
    work: Callable[[Bench], Awaitable[None]],
    *,
    hang_seconds: float = 4.0,
    load_seconds: float = 60.0,
    known: bool = True,
) -> None:
    async def run() -> None:
        made = Bench(clock, hang_seconds=hang_seconds, load_seconds=load_seconds, known=known)
        try:
            await work(made)
        finally:
            made.engine.hold.set()
            made.thread.close(10)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def holding(at: Bench, runs: int = 1) -> AsyncIterator[asyncio.Task[object]]:
    """The engine is in its run number `runs`."""
    at.engine.hold.clear()
    task: asyncio.Task[object] = asyncio.create_task(at.dispatcher.run(at.engine, row(0)))
    while len(at.engine.batches) < runs or at.thread.current is None:
        await asyncio.sleep(0.001)
    yield task


def test_a_run_over_the_limit_is_a_hang_and_all_who_wait_are_told_why(clock: Clock) -> None:
    async def work(at: Bench) -> None:
        async with holding(at) as running:
            waiting = asyncio.create_task(at.dispatcher.run(at.engine, row(1)))
            step = asyncio.create_task(at.thread.step(at.engine, lambda: True))
            await asyncio.sleep(0.01)
            assert not at.pass_time(3.9, 0.1)
            assert at.pass_time(0.5, 0.1)
            for task in (running, waiting, step):
                with pytest.raises(EngineError, match="hangs in model tiny 1: a run has taken more than 4 s"):
                    await task
            with pytest.raises(EngineError, match="hangs"):
                await at.dispatcher.run(at.engine, row(2))
            with pytest.raises(EngineError, match="hangs"):
                await at.thread.step(at.engine, lambda: True)
            at.pass_time(20, 0.1)
            assert len(at.reasons) == 1, "it is told once"

    bench(clock, work)


def test_a_thread_that_was_given_up_and_comes_back_harms_nobody(clock: Clock) -> None:
    async def work(at: Bench) -> None:
        async with holding(at) as running:
            at.pass_time(5, 0.1)
            at.engine.hold.set()
            while at.thread.current is not None:
                await asyncio.sleep(0.001)
            with pytest.raises(EngineError):
                await running
        assert at.watch.look(), "a process that has begun to end goes on ending"

    bench(clock, work)


def test_many_short_runs_are_no_hang(clock: Clock) -> None:
    async def work(at: Bench) -> None:
        for n in range(1, 6):
            async with holding(at, n) as running:
                assert not at.pass_time(3.0, 0.1)
                at.engine.hold.set()
                await running
        assert not at.reasons

    bench(clock, work)


def test_time_in_which_the_watch_did_not_run_does_not_count(clock: Clock) -> None:
    """A process that was stopped, one that gets no CPU, a clock that jumps."""

    async def work(at: Bench) -> None:
        async with holding(at):
            for _ in range(3):
                clock.now += 3600
                assert not at.watch.look()
            clock.now -= 10_000
            assert not at.watch.look()
            assert at.pass_time(5, 0.1), "it is found all the same once time passes as it should"

    bench(clock, work)


def test_a_run_of_a_model_that_does_not_serve_yet_has_the_time_of_a_load(clock: Clock) -> None:
    async def work(at: Bench) -> None:
        async with holding(at):
            assert not at.pass_time(50, 0.1)
            assert at.pass_time(11, 0.1)
        assert "a model that is being loaded: a run has taken more than 60 s" in at.reasons[0]

    bench(clock, work, known=False)


def test_it_waits_in_the_background_until_a_run_hangs() -> None:
    engine = Recorder()

    async def work() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            watch = EngineWatch(thread, hang_seconds=0.2, load_seconds=60)
            watch.know(engine, MODEL)
            engine.hold.clear()
            running = asyncio.create_task(Dispatcher(thread).run(engine, row(0)))
            async with asyncio.timeout(30):
                await watch.wait()
            with pytest.raises(EngineError):
                await running

    try:
        asyncio.run(work())
        assert threads_left()
    finally:
        engine.hold.set()


def test_closing_does_not_wait_for_a_run_that_does_not_end() -> None:
    engine = Recorder()

    async def work() -> None:
        thread = InferenceThread()
        engine.hold.clear()
        running = asyncio.create_task(Dispatcher(thread).run(engine, row(0)))
        while not engine.batches:
            await asyncio.sleep(0.001)
        started = time.monotonic()
        thread.close(0.1)
        assert time.monotonic() - started < 5
        running.cancel()

    try:
        asyncio.run(work())
    finally:
        engine.hold.set()


@pytest.fixture
def held() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_work_aside_gives_its_result_and_its_errors() -> None:
    async def work() -> None:
        assert await run_aside(lambda: threading.current_thread().daemon)
        with pytest.raises(KeyError, match="no such"):
            await run_aside(lambda: dict[str, int]()["no such"])

    asyncio.run(work())


def test_work_aside_that_hangs_keeps_nobody_from_going_on(held: threading.Event) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run_aside(held.wait)
        assert threads_left()

    asyncio.run(work())  # It would not return if the thread were waited for.
    held.set()
    while any(thread.name == ASIDE for thread in threading.enumerate()):
        time.sleep(0.005)


@pytest.mark.parametrize("patience", [3600.0, 0.0])
def test_steps_of_a_warm_up_give_way_to_requests_that_came_later(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time: a request waits for the step in progress at most. Where nothing is idle they get their turn."""
    monkeypatch.setattr(thread_module, "PATIENCE_SECONDS", patience)
    engine, serving = Recorder(warm_steps=4), Recorder()
    order: list[str] = []

    async def work() -> None:
        with contextlib.closing(InferenceThread()) as thread:
            dispatcher = Dispatcher(thread)
            engine.hold.clear()
            warming = asyncio.create_task(dispatcher.warm(engine, {"x": np.array([7])}))
            warming.add_done_callback(lambda _: order.append("warm"))
            while not engine.batches:
                await asyncio.sleep(0.001)
            asked = [asyncio.create_task(dispatcher.run(serving, row(i))) for i in range(3)]
            behind = asyncio.create_task(thread.step(engine, lambda: True))
            behind.add_done_callback(lambda _: order.append("step"))
            for task in asked:
                task.add_done_callback(lambda _: order.append("request"))
            while thread.depth < 4:
                await asyncio.sleep(0.001)
            engine.hold.set()
            await asyncio.gather(warming, behind, *asked)

    asyncio.run(work())
    assert order.index("step") == (3 if patience else 0)
    assert order.index("step") < order.index("warm")
    assert len(engine.batches) == 4
    assert engine.threads == serving.threads


def test_a_thread_that_a_fault_has_ended_is_a_hang_and_who_waits_is_told(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        @property
        def largest_batch(self) -> int:
            raise KeyError("no such fault was foreseen")

        @largest_batch.setter
        def largest_batch(self, _: int) -> None:
            pass

    async def work(at: Bench) -> None:
        assert not at.watch.look()
        task = asyncio.create_task(at.dispatcher.run(Broken(), row(0)))
        while not at.thread.has_ended:
            await asyncio.sleep(0.001)
        assert at.watch.look()
        with pytest.raises(EngineError, match="the inference thread has ended because of a fault"):
            await task
        assert at.reasons == ["the inference thread has ended because of a fault"]

    bench(clock, work)
    assert "no such fault was foreseen" in caplog.text
