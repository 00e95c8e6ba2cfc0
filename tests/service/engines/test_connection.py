"""A worker and engine processes that are of another version, make no sense, do not listen, or end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engines import connection as connection_module
from service.engines.connection import Connection
from service.engines.link import EngineLink
from service.engines.packing import Packed, pack
from service.engines.wire import (
    PROTOCOL,
    Done,
    Failed,
    Hello,
    Ran,
    Refused,
    Results,
    Served,
    Welcome,
)
from service.inference.engine import EngineError
from tests.service.engines.processes import (
    Held,
    Peer,
    Worker,
    engine_process,
    in_loop,
    key,
    packed,
    raw_process,
    until,
    worker,
)

NEVER = float("inf")
HELLO = Hello(PROTOCOL)
WELCOME = Welcome(PROTOCOL, (Served(key("m"), "cpu", 4),))


def one_frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


async def nothing(_: Peer) -> None:
    """Neither read nor write."""


def saying(*messages: Any) -> Callable[[Peer], Awaitable[None]]:
    """Answer the greeting with these."""

    async def talk(peer: Peer) -> None:
        await peer.hear()
        peer.say(*messages)

    return talk


def answering(*messages: Any) -> Callable[[Peer], Awaitable[None]]:
    """Welcome the worker, and answer its first job with these."""

    async def talk(peer: Peer) -> None:
        await peer.hear()
        peer.say(WELCOME)
        if await peer.hear() is not None:
            peer.say(*messages)

    return talk


@pytest.mark.long
@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([Welcome(99, ())], f"speaks version 99, this worker {PROTOCOL}"),
        ([Refused("not you")], "not you"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "is not understood"),
        ([one_frame(b"\xc1")], "is not understood"),
        ([HELLO], "is not understood"),
    ],
    ids=["another version", "a refusal", "another protocol", "no MessagePack", "a greeting"],
)
def test_a_process_that_does_not_welcome_is_not_used_and_the_reason_is_told(
    path: Path, said: list[Any], error: str
) -> None:
    async def work() -> None:
        async with raw_process(path, saying(*said)) as peers:
            link = EngineLink()
            with pytest.raises(EngineError, match=error):
                await link.open(path)
            assert len(peers) == 1
            assert await peers[0].hear() is None, "the worker has left"
            await link.close()

    in_loop(work)


def test_a_process_that_ends_before_its_welcome_is_an_error_of_the_connection(path: Path) -> None:
    async def work() -> None:
        async with raw_process(path, Peer.leave):
            with pytest.raises((EngineError, ConnectionError)):
                await Connection.open(path, lambda *_: None, lambda _: None)

    in_loop(work)


def test_a_process_that_ends_before_its_welcome_is_followed_by_the_next(path: Path) -> None:
    async def work() -> list[Peer]:
        async def talk(peer: Peer) -> None:
            await (peer.leave() if len(peers) < 4 else saying(WELCOME)(peer))

        async with raw_process(path, talk) as peers:
            link = EngineLink()
            await link.open(path)
            assert link.engine(path, "m", "1", "digest of m")
            await link.close()
            return peers

    assert len(in_loop(work)) == 4


def test_a_process_that_does_not_answer_the_greeting_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_GREETING_SECONDS", 0.05)

    async def work() -> None:
        async with raw_process(path, nothing) as peers:
            link = EngineLink()
            with pytest.raises(EngineError, match=r"did not answer a greeting in 0.05 s"):
                await link.open(path)
            assert await peers[0].hear() == HELLO
            assert await peers[0].hear() is None, "the worker has left"
            await link.close()

    in_loop(work)


@pytest.mark.parametrize("give_up", ["cancel", "forget", "close"])
def test_a_worker_that_changes_its_mind_during_the_greeting_leaves(path: Path, give_up: str) -> None:
    """Else the engine process would wait for it to leave."""
    welcome = asyncio.Event()

    async def slow(peer: Peer) -> None:
        if give_up != "cancel":  # Else it never comes.
            await welcome.wait()
            await saying(WELCOME)(peer)

    async def work() -> None:
        async with raw_process(path, slow) as peers:
            link = EngineLink()
            opening = asyncio.create_task(link.open(path))
            await until(lambda: peers)
            match give_up:
                case "cancel":
                    opening.cancel()
                case "forget":
                    link.forget(path)
                case "close":
                    await link.close()
            welcome.set()
            with contextlib.suppress(asyncio.CancelledError):
                await opening
            while await peers[0].hear() is not None:
                pass
            await link.close()

    in_loop(work)


def test_a_worker_that_ends_while_it_connects_again_leaves_the_next_process_too(path: Path) -> None:
    async def work() -> None:
        async def talk(peer: Peer) -> None:
            await (saying(WELCOME)(peer) if len(peers) == 1 else nothing(peer))

        async with raw_process(path, talk) as peers:
            link = EngineLink()
            await link.open(path)
            link.use(path)
            await peers[0].leave()
            await until(lambda: len(peers) == 2)
            await link.close()
            while await peers[1].hear() is not None:
                pass

    in_loop(work)


def done(number: int, outputs: Packed) -> Done:
    return Done(number, outputs)


RAN = Ran(0, 1.0, 0.1, 1)


SPOILT: dict[str, Any] = {
    "no header": b"\xff\xff\xff\xff",
    "no message": one_frame(b"\xc1"),
    "a second welcome": WELCOME,
    "outputs without all their bytes": Results([done(0, packed("<i8", (), b"1234"))], 0, 0.0, 0.0, RAN),
    "outputs that are objects": Results([done(0, packed("|O", (), b"12345678"))], 0, 0.0, 0.0, RAN),
    "outputs without their run": Results([done(0, pack({"y": np.array(8)}))], 0, 0.0, 0.0),
    "a run of a model that is none": Results([], 0, 0.0, 0.0, Ran(1, 1.0, 0.1, 1)),
}


@pytest.mark.parametrize("said", SPOILT.values(), ids=SPOILT.keys())
def test_a_process_whose_answers_make_no_sense_is_left_and_its_jobs_fail_with_the_reason(path: Path, said: Any) -> None:
    async def work() -> None:
        async with raw_process(path, answering(said)) as peers, worker(path) as one:
            tasks = one.asks(1, 2)
            for task in tasks:
                with pytest.raises(EngineError, match=r"not understood|speaks version"):
                    await task
            while await peers[0].hear() is not None:
                pass
            await until(lambda: len(peers) == 2 and one.link.given_up is None)

    in_loop(work)


def test_results_of_jobs_that_nobody_has_are_ignored(path: Path) -> None:

    async def work() -> int:
        results = Results([Failed(17, "none"), done(18, pack({})), done(0, pack({"y": np.array(8)}))], 0, 0.0, 0.0, RAN)
        async with raw_process(path, answering(results)), worker(path) as one:
            return await one.ask(1)

    assert in_loop(work) == 8


def test_a_process_that_does_not_read_fails_jobs_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_MOST_UNSENT_BYTES", 1_000)
    long = {"x": np.zeros(4_000_000, np.uint8)}

    async def work() -> None:
        async with raw_process(path, saying(WELCOME)) as peers, worker(path) as one:
            first = asyncio.create_task(one.dispatcher.run(one.engine(), long))
            await until(lambda: one.link.depth == 1)
            with pytest.raises(EngineError, match="does not read what is sent to it"):
                await one.ask(1)
            assert not first.done()
            assert one.link.depth == 1
            # Whoever leaves such a process does not wait for it to read.
            await one.link.close()
            with pytest.raises(EngineError):
                await first
            assert len(peers) == 1

    in_loop(work)


def test_arrays_that_cannot_be_sent_are_an_error_of_that_job_only(path: Path) -> None:
    async def work() -> int:
        async with engine_process(path, m=Held()), worker(path) as one:
            with pytest.raises(EngineError, match="not passed on"):
                await one.dispatcher.run(one.engine(), {"x": np.array(["text"])})
            assert one.link.depth == 0
            return await Worker(one.link, path).ask(3)

    assert in_loop(work) == 6
