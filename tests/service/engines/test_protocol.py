"""Peers of another version, peers that say what makes no sense, and peers that do not listen."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from service.engines import listener as listener_module
from service.engines.frames import frame
from service.engines.packing import Packed, pack
from service.engines.private import private_folder
from service.engines.wire import (
    PROTOCOL,
    Cancel,
    Done,
    Hello,
    Refused,
    Results,
    Run,
    Served,
    Welcome,
)
from service.inference.engine import BatchArrays, EngineError
from tests.service.engines.processes import (
    Held,
    Peer,
    busy,
    engine_process,
    in_loop,
    key,
    packed,
    row,
    until,
    waiting,
    worker,
)
from tests.service.tiny_bundle import Arrays

NEVER = float("inf")
HELLO = Hello(PROTOCOL)
WELCOME = Welcome(PROTOCOL, (Served(key("m"), "cpu", 4),))


def run(number: int, x: int | Packed = 1, model: int = 0) -> Run:
    return Run(number, model, NEVER, False, x if isinstance(x, Packed) else pack(row(x)))


def one_frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def test_a_worker_of_another_version_is_refused_with_both_versions(path: Path) -> None:
    async def work() -> list[Any]:
        async with engine_process(path, m=Held()):
            peer = await Peer.open(path)
            peer.say(Hello(99))
            heard = [await peer.hear(), await peer.hear()]
            await peer.leave()
            return heard

    assert in_loop(work) == [Refused(f"this worker speaks version 99, the engine process {PROTOCOL}"), None]


def test_a_raw_worker_that_keeps_to_the_protocol_gets_its_answer(path: Path) -> None:
    async def work() -> None:
        async with engine_process(path, other=Held(), m=Held()):
            peer = await Peer.open(path)
            peer.say(HELLO)
            served = (Served(key("other"), "cpu", 4), Served(key("m"), "cpu", 4))
            assert await peer.hear() == Welcome(PROTOCOL, served)
            peer.say(Cancel(3), run(7, 21, model=1))
            heard = await peer.hear()
            assert isinstance(heard, Results)
            (result,) = heard.results
            assert isinstance(result, Done)
            assert heard.ran is not None
            assert (heard.seen, heard.ran.model, heard.ran.batch_size) == (7, 1, 1)
            assert (result.id, result.outputs) == (7, pack({"y": np.array(42)}))
            await peer.leave()

    in_loop(work)


def test_jobs_of_a_worker_that_stands_still_are_dropped_at_their_deadline(path: Path) -> None:
    """It cannot say that nobody waits for them any more, and others must not wait for them."""
    engine = Held()

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            still = await Peer.open(path)
            async with busy(one, engine):
                soon = time.perf_counter() + 0.05
                late = [Run(n, 0, soon, False, pack(row(10 + n))) for n in range(8)]
                still.say(HELLO, *late)
                await until(lambda: waiting(process) == 9 and time.perf_counter() > soon)
            assert await one.ask(1) == 2
            await still.leave()
            await until(lambda: not waiting(process))
            assert process.thread.in_background == 0

    in_loop(work)
    assert engine.batches == [[0], [1]]


def test_a_worker_whose_jobs_are_all_late_is_told_of_their_run_without_outputs(path: Path) -> None:
    engine = Held(largest_batch=2)

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            still = await Peer.open(path)
            async with busy(one, engine):
                engine.held |= {1, 2}
                soon = time.perf_counter() + 2.0
                still.say(HELLO, *(Run(n, 0, soon, False, pack(row(n))) for n in (1, 2)), run(3, 3))
                await until(lambda: waiting(process) == 4)
            await until(lambda: time.perf_counter() > soon)
            assert engine.batches == [[0], [1, 2]]
            engine.held.clear()
            assert isinstance(await still.hear(), Welcome)
            late, on_time = await still.hear(), await still.hear()
            assert (late.results, late.seen, late.ran.model, late.ran.batch_size) == ([], 3, 0, 2)
            assert [done.id for done in on_time.results] == [3]
            await still.leave()

    in_loop(work)


NONSENSE: dict[str, Sequence[Any]] = {
    "no header": [b"\xff\xff\xff\xff"],
    "another protocol": [b"GET / HTTP/1.1\r\n\r\n"],
    "no MessagePack": [one_frame(b"\xc1")],
    "an empty frame": [one_frame(b"")],
    "no message": [one_frame(msgpack.encode({"hello": 1}))],
    "a message of the other side": [Welcome(PROTOCOL, ())],
    "bytes behind a message": [one_frame(msgpack.encode(HELLO) + b"\0")],
    "a job before the greeting": [run(0)],
    "a withdrawal before the greeting": [Cancel(0)],
    "two greetings": [HELLO, HELLO],
    "a model that is none": [HELLO, run(0, model=1)],
    "a model below none": [HELLO, run(0, model=-1)],
    "a job twice": [HELLO, run(4), run(4)],
    "a job of an earlier number": [HELLO, run(4), run(3)],
    "too few bytes": [HELLO, run(0, packed("<i8", (2,), b"\0" * 15))],
    "too many bytes": [HELLO, run(0, packed("<i8", (), b"\0" * 9))],
    "a shape to guess": [HELLO, run(0, packed("<i8", (-1,), b"\0" * 8))],
    "a shape that no array has": [HELLO, run(0, packed("<i8", (2**63,), b"\0" * 8))],
    "objects": [HELLO, run(0, packed("|O", (1,), b"\0" * 8))],
    "a type that is code": [HELLO, run(0, packed("f4,(", (1,), b"\0" * 8))],
}


@pytest.mark.long
@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_worker_that_makes_no_sense_is_left_and_others_go_on(
    path: Path, said: Sequence[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> list[int]:
        async with engine_process(path, m=Held()) as process, worker(path) as one:
            before = await one.ask(1)
            peer = await Peer.open(path)
            peer.say(*said)
            while await peer.hear() is not None:
                pass
            await peer.leave()
            await until(lambda: len(process.callers) == 1)
            return [before, await one.ask(2)]

    assert in_loop(work) == [2, 4]
    (record,) = [r for r in caplog.records if r.name == listener_module.__name__]
    assert "a worker said what is not understood, so its connection is closed: " in record.getMessage()


said_by_one = st.tuples(st.booleans(), st.booleans(), st.binary(min_size=1, max_size=40))


@pytest.mark.long
@settings(max_examples=15)
@given(said=st.lists(said_by_one, min_size=1, max_size=12))
def test_whatever_bytes_workers_send_others_go_on(said: list[tuple[bool, bool, bytes]]) -> None:
    async def work() -> None:
        with private_folder() as folder:
            path = folder / "engine.sock"
            async with engine_process(path, m=Held()), worker(path) as one:
                for greeted, framed, data in said:
                    peer = await Peer.open(path)
                    peer.say(*[HELLO] * greeted, one_frame(data) if framed else data)
                    assert await one.ask(1) == 2
                    await peer.leave()

    in_loop(work)


def test_jobs_before_the_nonsense_are_dropped_with_the_connection(path: Path) -> None:
    engine = Held()
    engine.held.add(0)

    async def work() -> None:
        async with engine_process(path, m=engine) as process, worker(path) as one:
            (first,) = one.asks(0)
            await until(lambda: engine.batches)
            peer = await Peer.open(path)
            peer.say(HELLO, run(0, 7), run(1, 8), b"\xff\xff\xff\xff")
            while await peer.hear() is not None:
                pass
            await peer.leave()
            await until(lambda: len(process.callers) == 1)
            engine.held.clear()
            await first
            assert await one.ask(1) == 2

    in_loop(work)
    assert engine.batches == [[0], [1]]


def test_a_worker_that_does_not_read_its_answers_is_left_and_others_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "_MOST_UNSENT_BYTES", 1_000)

    class Wide(Held):
        """Answers the request 7 at length."""

        def run(self, batch: BatchArrays) -> Arrays:
            found = super().run(batch)
            if 7 in np.asarray(batch["x"]):
                found["long"] = np.zeros((len(found["y"]), 4_000_000), np.uint8)
            return found

    async def work() -> int:
        async with engine_process(path, m=Wide()) as process, worker(path) as one:
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(path))
                deaf.sendall(frame(HELLO) + frame(run(0, 7)))
                await until(lambda: "does not read its answers" in caplog.text)
                await until(lambda: len(process.callers) == 1)
                return await one.ask(2)

    assert in_loop(work) == 4
    assert "a worker does not read its answers" in caplog.text


def test_outputs_that_cannot_be_sent_are_a_fault_of_that_run_only(path: Path) -> None:
    class Odd(Held):
        """Answers the request 7 with an object."""

        def run(self, batch: BatchArrays) -> Arrays:
            found = super().run(batch)
            return found if 7 not in np.asarray(batch["x"]) else {"y": np.array([{}] * len(found["y"]))}

    async def work() -> int:
        async with engine_process(path, m=Odd()) as process, worker(path) as one:
            (caller,) = process.callers
            with pytest.raises(EngineError, match="what the engine gave cannot be sent"):
                await one.ask(7)
            assert process.callers == {caller}
            return await one.ask(1)

    assert in_loop(work) == 2
