"""A Redis that is slow, gone, started again or no Redis at all costs a bounded time, and never raises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from service.catalogues.redis_reader import GIVE_UP_SECONDS
from tests.service.catalogues.reading import NEVER, PLENTY, Counts, prices, source, until
from tests.service.redis_server import HOST, RedisServer, free_port, redis_server
from tests.service.tiny_bundle import SPEC


@contextlib.asynccontextmanager
async def impostor(answer: bytes | None) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that takes connections and answers all bytes alike, or never; yields its URL and open connections."""
    opened = [0, 0]  # now, and at most at once

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened[0] += 1
        opened[1] = max(opened)
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                if answer is not None:
                    writer.write(answer)
        opened[0] -= 1
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}", opened
    finally:
        server.close()
        await until(lambda: opened[0] == 0)


def test_a_slow_redis_costs_little_and_its_late_answer_is_kept(tmp_path: Path) -> None:
    counts = Counts()

    async def scenario(server: RedisServer) -> None:
        server.put("price", {"a": "1", "b": "2"})
        async with source(server.url, counts, seconds=0.02) as made:
            await made.open()
            server.command("CLIENT", "PAUSE", str(int(1000 * GIVE_UP_SECONDS / 2)))
            assert await prices(made, ["a"]) == [None]
            assert await prices(made, ["b"]) == [None]  # Nobody waits behind what is late.
            await until(lambda: made._reader._work is None)
            assert await prices(made, ["a"]) == [1]

    with redis_server(tmp_path) as server:
        asyncio.run(scenario(server))
    assert counts.reads == ["late", "skipped", "cached"]


def test_a_redis_that_stands_still_is_asked_seldom_and_found_again(tmp_path: Path) -> None:
    counts = Counts()

    async def scenario(server: RedisServer) -> None:
        server.put("price", {"a": "1"})
        async with source(server.url, counts, seconds=0.02) as made:
            await made.open()
            began = perf_counter()
            server.command("CLIENT", "PAUSE", "2500")
            while perf_counter() - began < 2.4:
                found = await prices(made, ["a"])
                assert found == [None] or perf_counter() - began > 2.4
                await asyncio.sleep(0.002)
            late = counts.reads.count("late")
            assert 1 <= late <= 3
            assert set(counts.reads) <= {"late", "skipped", "error"}
            # The client that counts is held up as well, so this is when the pause is over.
            most = await asyncio.to_thread(server.connections)
            assert most <= 2
            deadline = perf_counter() + 60
            while await prices(made, ["a"]) == [None]:
                assert perf_counter() < deadline
                await asyncio.sleep(0.01)

    with redis_server(tmp_path) as server:
        asyncio.run(scenario(server))


@contextlib.asynccontextmanager
async def delayed(server: RedisServer, seconds: list[float]) -> AsyncIterator[str]:
    """A way to the server on which everything takes longer; yields its URL."""
    open_ways: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: list[float]) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                await asyncio.sleep(wait[0])
                writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ways.add(task)
        answers, questions = await asyncio.open_connection(HOST, server.port)
        await asyncio.gather(copy(reader, questions, [0.0]), copy(answers, writer, seconds))
        open_ways.discard(task)

    proxy = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"redis://{HOST}:{proxy.sockets[0].getsockname()[1]}"
    finally:
        proxy.close()
        await until(lambda: not open_ways)


def test_a_redis_that_is_always_late_fills_the_cache_and_nobody_waits(tmp_path: Path) -> None:
    counts = Counts()
    delay = [0.06]

    async def scenario(server: RedisServer) -> None:
        server.put("price", {f"{i}": f"{i}" for i in range(300)})
        async with delayed(server, delay) as url, source(url, counts, seconds=0.01) as made:
            await made.open()
            for i in range(8):
                await prices(made, [f"{i}"])
                await until(lambda: made._reader._work is None)
                assert await prices(made, [f"{i}"]) == [i]
            assert counts.reads == ["late", "cached"] * 8
            assert made._reader._late_in_a_row >= 8
            # Meanwhile nothing else is asked, however much is wanted.
            assert await asyncio.gather(*(prices(made, [f"{i}"]) for i in range(100, 110))) == [[None]] * 10
            assert counts.reads[16:] == ["late", *["skipped"] * 9]
            delay[0] = 0
            await until(lambda: made._reader._work is None)
            made._reader._limit = PLENTY  # However busy the machine is, the next one is in time.
            await prices(made, ["200"])
            await until(lambda: made._reader._work is None)
            counts.reads.clear()
            layer = made.layer(SPEC, ["201"])
            layer._left = PLENTY
            await layer.read_ahead(np.arange(1), {}, NEVER)
            assert layer.prices(np.arange(1)).tolist() == [201]
            assert counts.reads == ["ok"]

    with redis_server(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_redis_that_is_gone_costs_nothing_soon_and_is_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()

    async def scenario(server: RedisServer) -> None:
        async with source(server.url, counts) as made:
            server.put("price", {"a": "1"})
            assert await prices(made, ["a"]) == [1]
            server.stop()
            for i in range(50):
                assert await prices(made, ["a", f"{i}"]) == [1, None]  # What is cached goes on.
            server.start()
            server.put("price", {"new": "3"})
            deadline = perf_counter() + 60
            while await prices(made, ["new"]) == [None]:
                assert perf_counter() < deadline
                await asyncio.sleep(0.01)

    with redis_server(tmp_path) as server, caplog.at_level(logging.WARNING):
        asyncio.run(scenario(server))
    assert counts.reads[:51] == ["ok", *["error"] * 3, *["skipped"] * 47]
    assert len([r for r in caplog.records if "cannot be read" in r.message]) == 1


def test_a_redis_that_was_started_again_in_between_loses_no_read(tmp_path: Path) -> None:
    counts = Counts()

    async def scenario(server: RedisServer) -> None:
        async with source(server.url, counts) as made:
            for price in ("1", "2", "3"):
                server.put("price", {price: price})
                assert await prices(made, [price]) == [float(price)]
                server.stop()
                server.start()

    with redis_server(tmp_path) as server:
        asyncio.run(scenario(server))
    assert counts.reads == ["ok"] * 3


def test_a_redis_that_was_never_there_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()

    async def scenario() -> None:
        async with source(f"redis://{HOST}:{free_port()}", counts) as made:
            await made.open()
            assert await prices(made, ["a"]) == [None]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads == ["error"]
    assert "cannot be reached" in caplog.text


GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x00\xff\x00\xff\r\n",
    b"+OK\r\n",
    b"+OK\r\n" * 40,
    b"$-1\r\n" * 10,
    b"*0\r\n" * 10,
    b"*-1\r\n:1\r\n",
    b"-ERR no\r\n" * 10,
    b"-LOADING Redis is loading the dataset in memory\r\n" * 10,
    b"$99999999999999999999\r\n",
    b"*1\r\n" * 64,
    b":1\r\n" * 10,
]


@pytest.mark.parametrize("answer", GARBAGE)
def test_garbage_instead_of_answers_is_an_error_and_nothing_else(answer: bytes) -> None:
    counts = Counts()

    async def scenario() -> None:
        async with impostor(answer) as (url, opened), source(url, counts) as made:
            await made.open()
            for i in range(6):
                assert await prices(made, [f"{i}", "x"]) == [None, None]
            assert opened[1] <= 2

    asyncio.run(scenario())
    assert set(counts.reads) <= {"error", "skipped"}
    assert counts.reads[0] == "error"
    assert counts.reads[-1] == "skipped"


def test_a_server_that_never_answers_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()

    async def scenario() -> None:
        async with impostor(None) as (url, opened), source(url, counts) as made:
            for _ in range(4):
                assert await prices(made, ["a"]) == [None]
            assert opened[1] <= 2

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads == ["error", "error", "error", "skipped"]
    assert "no answer within 0.5 s" in caplog.text


def test_a_server_that_never_answers_takes_no_more_than_its_time_from_each_request() -> None:
    counts = Counts()

    async def scenario() -> None:
        async with impostor(None) as (url, opened), source(url, counts, seconds=0.002) as made:
            for _ in range(300):
                await asyncio.gather(*(prices(made, [f"{i}"]) for i in range(5)))
                await asyncio.sleep(0.005)
            assert opened[1] <= 2

    asyncio.run(scenario())
    # Five requests at once per failure before the breaker opens, and nobody waits afterwards.
    assert 1 <= counts.reads.count("late") <= 15
    assert set(counts.reads) <= {"late", "skipped", "error"}


def test_no_time_left_is_no_question(tmp_path: Path) -> None:
    counts = Counts()

    async def scenario(server: RedisServer) -> None:
        server.put("price", {"a": "1"})
        async with source(server.url, counts, seconds=PLENTY) as made:
            layer = made.layer(SPEC, ["a"])
            await layer.read_ahead(np.arange(1), {}, perf_counter() - 1)
            assert np.isnan(layer.prices(np.arange(1))).all()

    with redis_server(tmp_path) as server:
        asyncio.run(scenario(server))
        assert server.questions() == 0
    assert counts.reads == ["skipped"]


def test_all_reads_of_a_request_share_its_time() -> None:
    counts = Counts()

    async def scenario() -> None:
        async with impostor(None) as (url, _), source(url, counts, seconds=0.05) as made:
            layer = made.layer(SPEC, ["a"])
            began = perf_counter()
            await layer.read_ahead(np.arange(1), {}, NEVER)
            made._reader._late = False  # As if the second read were not behind the first one's question.
            await layer.read(np.arange(1), NEVER)
            assert counts.reads == ["late", "skipped"]
            assert perf_counter() - began < 30

    asyncio.run(scenario())
