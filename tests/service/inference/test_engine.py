"""The inference thread and the dispatcher in front of it: who runs with whom, in which order, and who is given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from service.inference import batching as batching_module
from service.inference import dispatcher as dispatcher_module
from service.inference.batching import next_batch
from service.inference.dispatcher import DeadlineNear, Dispatcher
from service.inference.engine import Answer, BatchArrays, EngineError, Job, stack_rows
from service.inference.thread import InferenceThread
from service.timing.deadline import LEAD_SECONDS, NEVER, Deadline, in_time
from service.timing.estimate import LiveFit
from service.transport.asgi import Presence
from tests.service.tiny_bundle import Arrays


@dataclass(eq=False)
class Recorder:
    """Doubles `x`, and notes what came together and on which thread. `hold` keeps runs waiting until it is set."""

    largest_batch: int = 4
    provider: str = "cpu"
    thread_safe: bool = False
    warm_steps: int = 3
    error: Exception | None = None
    batches: list[list[int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    hold: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def run(self, batch: BatchArrays) -> Arrays:
        self.threads.add(threading.get_ident())
        self.batches.append(np.asarray(batch["x"]).tolist())
        assert self.hold.wait(10)
        if self.error is not None:
            raise self.error
        return {"y": np.asarray(batch["x"]) * 2}

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        for _ in range(self.warm_steps):
            self.run(batch)
            yield


def row(x: int) -> Arrays:
    return {"x": np.array(x)}


def asked(work: Callable[[Dispatcher], Awaitable[Any]], **options: Any) -> Any:
    """Run `work` in an event loop with a dispatcher of its own."""

    async def run() -> Any:
        with contextlib.closing(InferenceThread()) as thread:
            return await work(Dispatcher(thread, **options))

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def busy(dispatcher: Dispatcher, engine: Recorder) -> AsyncIterator[None]:
    """The engine is at work on request 0 and will not end before the context does."""
    engine.hold.clear()
    first = asyncio.create_task(dispatcher.run(engine, row(0)))
    while not engine.batches:
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        engine.hold.set()
        with contextlib.suppress(EngineError):
            await first


def most(measure: Callable[[], float], enough: float) -> float:
    """The largest of up to 20 measurements, the last of which may be `enough`: a busy machine makes some too small."""
    found: list[float] = []
    while len(found) < 20 and (not found or found[-1] <= enough):
        found.append(measure())
    return max(found)


async def queued(dispatcher: Dispatcher, count: int) -> None:
    while dispatcher.depth < count:
        await asyncio.sleep(0.001)


def test_every_request_gets_its_own_answer_from_one_thread() -> None:
    engine = Recorder()

    async def work(dispatcher: Dispatcher) -> list[Answer]:
        return list(await asyncio.gather(*(dispatcher.run(engine, row(i)) for i in range(50))))

    answers = asked(work)
    assert [int(answer.outputs["y"]) for answer in answers] == [2 * i for i in range(50)]
    assert sorted(x for batch in engine.batches for x in batch) == list(range(50))
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


def test_what_has_queued_up_meanwhile_runs_together_up_to_the_largest_batch_without_a_timer() -> None:
    engine = Recorder(largest_batch=4)

    async def work(dispatcher: Dispatcher) -> list[int]:
        async with busy(dispatcher, engine):
            tasks = [asyncio.create_task(dispatcher.run(engine, row(i))) for i in range(1, 7)]
            await queued(dispatcher, 6)
        return [answer.batch_size for answer in await asyncio.gather(*tasks)]

    assert asked(work) == [4, 4, 4, 4, 2, 2]
    assert engine.batches == [[0], [1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize("patience", [3600.0, 0.0])
def test_the_most_urgent_runs_first_and_engines_are_never_mixed(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work in the background comes last, unless it has waited for long enough: then it comes first."""
    monkeypatch.setattr(batching_module, "PATIENCE_SECONDS", patience)
    one, other = Recorder(), Recorder()

    async def work(dispatcher: Dispatcher) -> None:
        far = time.perf_counter() + 60
        async with busy(dispatcher, one):
            tasks = [
                asyncio.create_task(dispatcher.run(engine, row(i), deadline=far + late, background=behind))
                for i, (engine, late, behind) in enumerate(
                    [(one, NEVER, True), (one, 2.0, False), (other, 0.0, False), (one, 1.0, False)], start=1
                )
            ]
            await queued(dispatcher, 4)
        await asyncio.gather(*tasks)

    asked(work)
    assert one.batches == ([[0], [4, 2], [1]] if patience else [[0], [1], [4, 2]])
    assert other.batches == [[3]]


def test_a_failing_run_is_an_engine_error_with_its_cause_and_the_thread_goes_on() -> None:
    engine = Recorder(error=MemoryError("arena"))

    async def work(dispatcher: Dispatcher) -> Answer:
        with pytest.raises(EngineError, match="arena") as caught:
            await dispatcher.run(engine, row(1))
        assert isinstance(caught.value.__cause__, MemoryError)
        engine.error = None
        return await dispatcher.run(engine, row(2))

    assert int(asked(work).outputs["y"]) == 4


def test_a_stalled_engine_does_not_keep_a_request_past_its_deadline_and_the_queued_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher_module, "LEAD_SECONDS", 2.0)  # A busy machine may be late by so much.
    engine = Recorder()
    dropped: list[str] = []

    async def work(dispatcher: Dispatcher) -> float:
        async with busy(dispatcher, engine):
            deadline = time.perf_counter() + 2.1
            with pytest.raises(DeadlineNear):
                await dispatcher.run(engine, row(1), deadline=deadline)
            return deadline - time.perf_counter()

    def measure() -> float:
        dropped.clear()
        engine.batches.clear()
        left: float = asked(work, on_drop=dropped.append)
        assert dropped == ["deadline"]
        assert engine.batches == [[0]], "what is given up before it starts is never run"
        return left

    assert 0 < most(measure, 0) < 2.1


def test_many_that_are_given_up_together_are_given_up_early_enough_to_be_answered_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    each = 0.1  # A busy machine may be late by less than two of these.
    monkeypatch.setattr(dispatcher_module, "FORMULA_SECONDS", each)
    engine = Recorder()
    count = 20

    async def work(dispatcher: Dispatcher) -> list[float]:
        deadline = time.perf_counter() + count * each + 0.2
        left: list[float] = []

        async def ask(i: int) -> None:
            with pytest.raises(DeadlineNear):
                await dispatcher.run(engine, row(i), deadline=deadline)
            left.append(deadline - time.perf_counter())

        async with busy(dispatcher, engine):
            await asyncio.gather(*(ask(i) for i in range(count)))
        return left

    def measure() -> float:
        engine.batches.clear()
        left: list[float] = asked(work)
        assert len(left) == count
        return max(left)

    enough = LEAD_SECONDS + (count - 2) * each
    assert most(measure, enough) > enough, "the first must leave time for all behind it"


def test_a_client_that_leaves_takes_its_request_out_of_the_queue() -> None:
    engine = Recorder()
    dropped: list[str] = []
    presence = Presence()

    async def work(dispatcher: Dispatcher) -> None:
        async with busy(dispatcher, engine):
            task = asyncio.create_task(dispatcher.run(engine, row(1), presence=presence))
            await queued(dispatcher, 1)
            presence.leave()
            with pytest.raises(ClientDisconnect):
                await task
        await dispatcher.run(engine, row(2))

    asked(work, on_drop=dropped.append)
    assert dropped == ["client-gone"]
    assert engine.batches == [[0], [2]]
    presence.leave()  # Nobody waits any more; it is no error.


def test_a_request_that_is_cancelled_while_it_waits_does_not_stop_the_thread() -> None:
    engine = Recorder()

    async def work(dispatcher: Dispatcher) -> None:
        async with busy(dispatcher, engine):
            task = asyncio.create_task(dispatcher.run(engine, row(1)))
            await queued(dispatcher, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await dispatcher.run(engine, row(2))

    asked(work)
    assert engine.batches == [[0], [2]]


def test_an_idle_engine_is_always_tried_and_a_busy_one_only_if_there_is_time() -> None:
    engine = Recorder()

    async def work(dispatcher: Dispatcher) -> list[bool]:
        soon = time.perf_counter() + 1e-4
        late, early = Deadline(soon), Deadline()
        idle = in_time(dispatcher.seconds_until_done(engine), late)
        await dispatcher.run(engine, row(0))
        engine.batches.clear()
        async with busy(dispatcher, engine):
            wait = dispatcher.seconds_until_done(engine)
            return [idle, in_time(wait, late), in_time(wait, early)]

    assert asked(work) == [True, False, True]


def test_the_thread_of_the_runs_is_the_thread_that_warms_up_and_its_errors_come_back() -> None:
    engine = Recorder()

    async def work(dispatcher: Dispatcher) -> None:
        await dispatcher.warm(engine, {"x": np.array([7])})
        await dispatcher.run(engine, row(1))
        engine.error = ValueError("no such kernel")
        with pytest.raises(ValueError, match="no such kernel"):
            await dispatcher.warm(engine, {"x": np.array([7])})

    asked(work)
    assert len(engine.threads) == 1


@given(
    deadlines=st.lists(st.floats(0, 100), min_size=1, max_size=20),
    largest=st.integers(1, 10),
    fixed=st.floats(0, 50),
    each=st.floats(0, 20),
)
def test_a_batch_is_never_so_large_that_its_most_urgent_request_would_be_late(
    deadlines: list[float], largest: int, fixed: float, each: float
) -> None:
    engine = Recorder(largest_batch=largest)
    nothing: Any = None
    jobs = [Job(engine, {}, nothing, nothing, deadline) for deadline in deadlines]
    batch = next_batch(jobs, lambda n: fixed + each * n, 0.0)
    assert 1 <= len(batch) <= largest
    hopeful = sorted(d for d in deadlines if fixed + each <= d)
    chosen = [job.deadline for job in batch]
    assert chosen == (hopeful or [max(deadlines)])[: len(batch)], "who would be late even alone holds up nobody"
    assert fixed + each * len(batch) <= chosen[0] or len(batch) == 1
    if len(batch) < min(largest, len(hopeful)):
        assert fixed + each * (len(batch) + 1) > chosen[0], "there was room for one more"


@pytest.mark.parametrize(("each", "size"), [(0.0001, 4), (0.002, 2), (1.0, 1)])
def test_work_in_the_background_runs_together_as_far_as_that_is_short(each: float, size: int) -> None:
    """A request that comes meanwhile waits for the run: 5 ms at most, unless one job alone takes longer."""
    engine, other = Recorder(largest_batch=4), Recorder()
    nothing: Any = None
    jobs = [Job(engine, {}, nothing, nothing, 100.0 - i, background=True) for i in range(9)]
    mixed = [Job(other, {}, nothing, nothing, 200.0, background=True), *jobs]
    batch = next_batch(mixed, lambda n: each * n, 0.0)
    assert batch == jobs[::-1][:size]
    single = Job(engine, {}, nothing, nothing, 300.0)
    assert next_batch([*mixed, single], lambda n: each * n, 0.0) == [single]
    assert next_batch([*mixed, single], lambda n: each * n, 1e9) == [single], "however long they have waited"


def test_a_request_expects_to_wait_for_no_work_in_the_background() -> None:
    engine = Recorder(largest_batch=1)

    async def work(dispatcher: Dispatcher) -> None:
        await dispatcher.run(engine, row(0))
        async with busy(dispatcher, engine):
            tasks = [asyncio.create_task(dispatcher.run(engine, row(i), background=True)) for i in range(1, 6)]
            await queued(dispatcher, 5)
            # One run at most is left of that which goes on, and then comes one, or six.
            ahead = dispatcher.seconds_until_done(engine)
            assert dispatcher.seconds_until_done(engine, background=True) > 2 * ahead > 0
        await asyncio.gather(*tasks)
        assert dispatcher.seconds_until_done(engine) == 0

    asked(work)


def test_rows_of_different_widths_are_padded_with_zeros() -> None:
    rows = [{"e": np.ones((2, 3)), "v": np.array([True, True])}, {"e": np.full((3, 1), 2.0), "v": np.array([True] * 3)}]
    batch = stack_rows(rows)
    assert batch["e"].tolist() == [
        [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
        [[2, 0, 0], [2, 0, 0], [2, 0, 0]],
    ]
    assert batch["v"].tolist() == [[True, True, False], [True, True, True]]
    assert stack_rows(rows[:1])["e"].shape == (1, 2, 3)


def test_the_live_fit_finds_a_line_and_follows_when_it_moves() -> None:
    fit = LiveFit()
    assert fit.predict(3) == 0.0
    rng = np.random.default_rng(0)
    for n in rng.integers(1, 9, 200).tolist():
        fit.add(n, 0.001 + 0.0005 * n)
    assert fit.predict(8) == pytest.approx(0.005, rel=1e-3)
    for n in rng.integers(1, 9, 400).tolist():
        fit.add(n, 0.003 + 0.001 * n)
    assert fit.predict(8) == pytest.approx(0.011, rel=0.02)


def test_one_hiccup_hardly_moves_the_live_fit() -> None:
    fit = LiveFit()
    for i in range(200):
        fit.add(1 + i % 4, 0.002)
    fit.add(2, 5.0)
    assert fit.predict(2) < 0.0023


class Inbox(InferenceThread):
    """Keeps what was handed in, and runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        super().submit(job)


def test_a_batch_is_planned_for_when_its_requests_are_given_up_and_not_for_when_they_are_due() -> None:
    async def run() -> float:
        with contextlib.closing(Inbox()) as thread:
            deadline = time.perf_counter() + 60
            await Dispatcher(thread).run(Recorder(), row(1), deadline=deadline)
            return deadline - thread.jobs[0].deadline

    assert asyncio.run(run()) == pytest.approx(LEAD_SECONDS)
