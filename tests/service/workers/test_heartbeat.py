"""Waiting by a process's own time, and the pulse of a worker."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from service.transport.sockets import loop_factory
from service.workers import heartbeat
from service.workers.heartbeat import Pulse, within


async def answered_while_blocked(blocked_seconds: float) -> asyncio.Future[bytes]:
    """What comes over a socket while this process is busy with what came over another."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()
    trigger, triggering = socket.socketpair()
    answer, answering = socket.socketpair()
    for sock in (trigger, answer):
        sock.setblocking(False)

    def read() -> None:
        loop.remove_reader(answer)
        with answer, answering:
            future.set_result(answer.recv(1))

    def block() -> None:
        loop.remove_reader(trigger)
        with trigger, triggering:
            time.sleep(blocked_seconds)
        answering.sendall(b"x")

    loop.add_reader(trigger, block)
    loop.add_reader(answer, read)
    loop.call_later(0.1, triggering.sendall, b"x")
    return future


def test_the_result_or_the_error_of_what_is_waited_for_comes_through() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.05, future.set_result, 7)
        assert await within(future, 60) == 7
        failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        failed.set_exception(KeyError("gone"))
        with pytest.raises(KeyError, match="gone"):
            await within(failed, 60)

    asyncio.run(main())


def test_after_its_time_it_is_given_up_but_not_cancelled() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await within(future, 0.5)
        assert time.monotonic() - began >= 0.45
        assert not future.done()

    asyncio.run(main())


def test_time_in_which_this_process_itself_does_not_run_does_not_count() -> None:
    async def main() -> None:
        future = await answered_while_blocked(1.5)
        assert await within(future, 0.25) == b"x"

    with asyncio.Runner(loop_factory=loop_factory()) as runner:  # Whose timers come before what is to be read.
        runner.run(main())


@pytest.mark.long
def test_a_process_that_never_runs_in_time_still_comes_to_an_end() -> None:
    async def main() -> None:
        async def starve() -> None:
            while True:
                time.sleep(0.6)
                await asyncio.sleep(0)

        starving = asyncio.create_task(starve())
        with pytest.raises(TimeoutError):
            await within(asyncio.get_running_loop().create_future(), 0.5)
        starving.cancel()

    asyncio.run(main())


def test_a_worker_may_be_slow_to_start_but_not_to_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "START_SECONDS", 60.0)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.5)

    async def main() -> None:
        pulse = Pulse()
        watch = asyncio.create_task(pulse.watch())
        await asyncio.sleep(1)
        assert (watch.done(), pulse.has_begun) == (False, False)
        pulse.beat()
        pulse.beat()
        await pulse.begins()
        with pytest.raises(TimeoutError):
            await watch

    asyncio.run(main())


def test_a_worker_that_never_beats_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "START_SECONDS", 0.5)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await Pulse().watch()

    asyncio.run(main())


@pytest.mark.parametrize("beats", [0, 1, 2])
def test_the_watch_ends_with_the_beats(beats: int) -> None:
    async def main() -> None:
        pulse = Pulse()
        for _ in range(beats):
            pulse.beat()
        pulse.stop()
        await asyncio.wait_for(pulse.watch(), 30)
        assert pulse.has_begun

    asyncio.run(main())


def test_an_end_that_comes_with_a_beat_is_not_missed() -> None:
    async def main() -> None:
        pulse = Pulse()
        watch = asyncio.create_task(pulse.watch())
        await asyncio.sleep(0)
        pulse.beat()
        pulse.stop()
        await watch  # Raises `TimeoutError` if it waits for more beats.

    asyncio.run(main())
