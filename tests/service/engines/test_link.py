"""Workers share an engine process: who gets which answer, what is dropped, and which process runs what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.requests import ClientDisconnect

from service.engines import link as link_module
from service.engines.link import EngineLink
from service.engines.listener import EngineListener
from service.inference.dispatcher import DeadlineNear
from service.inference.engine import EngineError
from service.timing.deadline import NEVER
from service.transport.asgi import Presence
from tests.service.engines.processes import (
    Held,
    Worker,
    busy,
    die,
    engine_process,
    in_loop,
    row,
    until,
    waiting,
    worker,
)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_job_of_every_worker_gets_its_own_answer(path: Path, factory: Callable[[], Any]) -> None:
    engine = Held(largest_batch=8)

    async def work() -> list[list[int]]:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(engine_process(path, m=engine))
            workers = [await stack.enter_async_context(worker(path)) for _ in range(4)]
            jobs = [one.asks(*range(1000 * i, 1000 * i + 100)) for i, one in enumerate(workers)]
            return [list(await asyncio.gather(*tasks)) for tasks in jobs]

    answers = in_loop(work, factory)
    assert answers == [[2 * (1000 * i + j) for j in range(100)] for i in range(4)]
    assert sorted(x for batch in engine.batches for x in batch) == [1000 * i + j for i in range(4) for j in range(100)]


def test_workers_and_the_engine_process_may_run_on_loops_of_their_own(path: Path) -> None:
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with engine_process(path, m=Held()):
            ready.set()
            await until(stop.is_set)

    async def ask() -> list[int]:
        async with worker(path) as one, worker(path) as other:
            return list(await asyncio.gather(*one.asks(*range(20)), *other.asks(*range(20, 40))))

    process = threading.Thread(target=in_loop, args=(serve,))
    process.start()
    try:
        assert ready.wait(60)
        assert in_loop(ask) == [2 * x for x in range(40)]
    finally:
        stop.set()
        process.join()


def test_a_run_serves_jobs_of_several_workers(path: Path) -> None:
    engine = Held(largest_batch=4)

    async def work() -> list[int]:
        async with engine_process(path, m=engine) as process, worker(path) as one, worker(path) as other:
            async with busy(one, engine):
                tasks = [*one.asks(1, 2), *other.asks(101, 102)]
                await until(lambda: waiting(process) == 5)
            return list(await asyncio.gather(*tasks))

    assert in_loop(work) == [2, 4, 202, 204]
    assert [sorted(batch) for batch in engine.batches] == [[0], [1, 2, 101, 102]]


def test_a_failing_run_is_an_error_of_its_jobs_and_the_next_is_none(path: Path) -> None:
    engine = Held()

    async def work() -> int:
        async with engine_process(path, m=engine), worker(path) as one:
            engine.error = MemoryError("arena")
            with pytest.raises(EngineError, match="inference failed: arena"):
                await one.ask(1)
            engine.error = None
            return await one.ask(2)

    assert in_loop(work) == 4


@pytest.mark.parametrize(
    ("error", "dropped"),
    [(DeadlineNear, ["deadline"]), (ClientDisconnect, ["client-gone"]), (asyncio.CancelledError, [])],
    ids=["its deadline comes", "its client leaves", "it is cancelled"],
)
def test_a_job_that_nobody_waits_for_is_dropped_before_its_run(
    path: Path, error: type[BaseException], dropped: list[str]
) -> None:
    engine, presence = Held(), Presence()

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            async with busy(one, engine):
                deadline = time.perf_counter() + 0.3 if error is DeadlineNear else NEVER
                (task,) = one.asks(1, presence=presence, deadline=deadline)
                await until(lambda: waiting(process) == 2 or task.done())
                if error is ClientDisconnect:
                    presence.leave()
                elif error is asyncio.CancelledError:
                    task.cancel()
                with pytest.raises(error):
                    await task
                assert one.link.depth == 1
                await until(lambda: waiting(process) == 1)
            assert await one.ask(2) == 4
            assert one.dropped == dropped

    in_loop(work)
    assert engine.batches == [[0], [2]]


def test_an_answer_that_comes_too_late_is_nobodys(path: Path) -> None:
    engine = Held()

    async def work() -> None:
        async with engine_process(path, m=engine), worker(path) as one:
            engine.held.add(0)
            (running,) = one.asks(0)
            await until(lambda: engine.batches)
            running.cancel()
            await asyncio.wait([running])
            assert one.link.depth == 0
            engine.held.clear()
            assert await one.ask(1) == 2

    in_loop(work)
    assert engine.batches == [[0], [1]]


def test_jobs_of_a_worker_that_leaves_are_dropped_before_their_run(path: Path) -> None:
    engine = Held()

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one, worker(path) as other:
            async with busy(one, engine):
                tasks = other.asks(1, 2, 3)
                await until(lambda: waiting(process) == 4)
                await other.link.close()
                for task in tasks:
                    with pytest.raises(EngineError):
                        await task
                await until(lambda: waiting(process) == 1)
            assert await one.ask(4) == 8
            assert process.thread.in_background == 0

    in_loop(work)
    assert engine.batches == [[0], [4]]


def test_the_end_of_the_process_fails_its_jobs_at_once_until_the_next_listens_there(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, next_engine = Held(), Held()

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            async with busy(one, engine):
                tasks = one.asks(1, 2)
                await until(lambda: waiting(process) == 3)
                remote = one.engine()
                die(process)
                for task in tasks:
                    with pytest.raises(EngineError, match="the engine process has ended"):
                        await task
                assert one.dispatcher.given_up == "the engine process is being replaced"
                with pytest.raises(EngineError, match="is being replaced"):
                    await one.dispatcher.run(remote, {})
                assert one.link.seconds_until_done(remote) == 0
                assert one.link.idle
                with pytest.raises(EngineError, match="does not run m 1"):
                    one.engine()
            async with engine_process(path, m=next_engine):
                await until(lambda: one.dispatcher.given_up is None)
                assert one.engine() is remote, "models go on with the engine that they have"
                assert await one.ask(5) == 10

    with caplog.at_level(logging.INFO):
        in_loop(work)
    assert next_engine.batches == [[5]]
    assert "requests are answered without a model until it is replaced" in caplog.text
    assert "connected to the next engine process" in caplog.text


def test_a_worker_may_be_there_before_the_process(path: Path) -> None:
    async def work() -> int:
        link = EngineLink()
        opening = asyncio.create_task(link.open(path))
        await asyncio.sleep(0.02)
        assert not opening.done()
        async with engine_process(path, m=Held()):
            await opening
            link.use(path)
            found = await Worker(link, path).ask(3)
            await link.close()
            return found

    assert in_loop(work) == 6


@pytest.fixture
def later(path: Path) -> Path:
    """Where the next engine process listens."""
    return path.with_name("later.sock")


def test_the_next_process_takes_over_and_the_one_before_ends_its_jobs(
    path: Path, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "KEPT_SECONDS", 0.02)
    old, new = Held(), Held()

    async def work() -> None:
        async with engine_process(path, m=old) as before, engine_process(later, m=new), worker(path) as one:
            async with busy(one, old) as running:
                await one.link.open(later)
                one.link.use(later)
                assert await one.ask(2) == 4
                await asyncio.sleep(0.1)
                assert before.callers, "it is kept until its job is done"
            assert await running == 0
            await until(lambda: not before.callers)
            one.path = later
            assert await one.ask(3) == 6

    in_loop(work)
    assert old.batches == [[0]]
    assert new.batches == [[2], [3]]


def test_an_older_process_is_not_used_again(path: Path, later: Path) -> None:
    old, new = Held(), Held()

    async def work() -> None:
        async with engine_process(path, m=old), engine_process(later, m=new), worker(path) as one:
            await one.link.open(later)
            assert await one.ask(1) == 2, "it is used only when it is told to"
            one.link.use(later)
            one.link.use(path)
            assert await one.ask(2) == 4

    in_loop(work)
    assert (old.batches, new.batches) == ([[1]], [[2]])


def test_jobs_of_a_model_go_to_the_process_that_runs_it(path: Path, later: Path) -> None:
    old, shared, new = Held(), Held(), Held()

    async def work() -> list[int]:
        async with (
            engine_process(path, retired=old, m=Held()),
            engine_process(later, m=shared, added=new),
            worker(path) as one,
        ):
            retired = one.engine("retired")
            with pytest.raises(EngineError, match="does not run added 1"):
                one.engine("added")
            await one.link.open(later)
            added = one.engine("added", later)
            warmed = await one.dispatcher.run(added, row(9))
            one.link.use(later)
            answer = await one.dispatcher.run(retired, row(1))
            shares = await one.dispatcher.run(one.engine("m"), row(2))
            one.link._leave(path)
            with pytest.raises(EngineError, match="no engine process runs retired 1"):
                await one.dispatcher.run(retired, row(3))
            return [int(found.outputs["y"]) for found in (warmed, answer, shares)]

    assert in_loop(work) == [18, 2, 4]
    assert (old.batches, shared.batches, new.batches) == ([[1]], [[2]], [[9]])


def test_a_process_that_is_not_to_be_used_after_all_is_left(path: Path, later: Path) -> None:
    async def work() -> None:
        async with (
            engine_process(path, m=Held()) as used,
            engine_process(later, m=Held()) as staged,
            worker(path) as one,
        ):
            await one.link.open(later)
            assert staged.callers
            one.link.forget(later)
            await until(lambda: not staged.callers)
            one.link.forget(path)
            assert await one.ask(1) == 2
            assert used.callers, "the one in use is not forgotten"

    in_loop(work)


def test_a_process_that_never_came_may_be_forgotten_too(path: Path, later: Path) -> None:
    async def work() -> None:
        async with engine_process(path, m=Held()), worker(path) as one:
            opening = asyncio.create_task(one.link.open(later))
            await asyncio.sleep(0.02)
            one.link.forget(later)
            await opening
            with pytest.raises(EngineError, match="does not run m 1"):
                one.engine("m", later)

    in_loop(work)


def test_a_process_is_connected_to_once_however_often_it_is_opened(path: Path) -> None:
    async def work() -> None:
        async with engine_process(path, m=Held()) as process:
            link = EngineLink()
            await asyncio.gather(*(link.open(path) for _ in range(5)))
            await link.open(path)
            link.use(path)
            one = Worker(link, path)
            assert await one.ask(1) == 2
            await until(lambda: len(process.callers) == 1)
            assert await one.ask(2) == 4
            await link.close()
            await until(lambda: not process.callers)

    in_loop(work)


@pytest.mark.parametrize("mode", [0o666, 0o660])
def test_a_socket_that_others_could_reach_is_not_spoken_to(path: Path, mode: int) -> None:
    async def work() -> EngineListener:
        async with engine_process(path, m=Held()) as process:
            path.chmod(mode)
            link = EngineLink()
            with pytest.raises(EngineError, match=r"cannot be spoken to: .*open to other users"):
                await link.open(path)
            path.chmod(0o600)
            path.parent.chmod(0o755)
            with pytest.raises(EngineError, match=r"cannot be spoken to: .*open to other users"):
                await link.open(path)
            path.parent.chmod(0o700)
            await link.close()
            return process

    in_loop(work)


def test_a_next_process_that_others_could_reach_is_named_once_and_spoken_to_when_that_is_mended(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> int:
        async with engine_process(path, m=Held()) as process, worker(path) as one:
            die(process)
            await until(lambda: one.link.given_up)
            path.unlink(missing_ok=True)
            async with engine_process(path, m=Held()):
                path.chmod(0o666)
                await until(lambda: "open to other users" in caplog.text)
                await asyncio.sleep(0.05)
                path.chmod(0o600)
                await until(lambda: one.link.given_up is None)
                return await one.ask(1)

    assert in_loop(work) == 2
    assert caplog.text.count("open to other users") == 1


def test_the_model_of_an_engine_process_is_described_and_neither_run_nor_warmed_here(path: Path) -> None:
    engine = Held(largest_batch=3)

    async def work() -> None:
        async with engine_process(path, m=engine), worker(path) as one:
            remote = one.engine()
            assert (remote.provider, remote.largest_batch, remote.thread_safe) == ("cpu", 3, False)
            await one.dispatcher.warm(remote, {})
            with pytest.raises(EngineError, match="m 1 runs in the engine process only"):
                remote.run({})
            assert list(remote.warm_runs({})) == []

    in_loop(work)
    assert engine.batches == []


def test_a_path_that_has_been_left_is_not_used_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that switches late may be told to use what all others have left already."""
    monkeypatch.setattr(link_module, "KEPT_SECONDS", 0.0)
    later = path.with_name("1-0.sock")

    async def work() -> None:
        async with engine_process(path, m=Held()), engine_process(later, m=Held()), worker(path) as one:
            await one.link.open(later)
            one.link.use(later)
            await until(lambda: path not in one.link._connections)
            one.link.use(path)
            assert one.link.given_up is None
            answer = await one.dispatcher.run(one.engine(path=later), row(3))
            assert answer.outputs["y"] == 6

    in_loop(work)
