"""Engine processes and workers, as far as each sees of the other, in one process and on real Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import uvloop
from msgspec import msgpack

from service.engines.frames import FrameReader, frame
from service.engines.link import EngineLink
from service.engines.listener import EngineListener, OwnEngine
from service.engines.packing import Field, Packed
from service.engines.private import listen
from service.engines.remote import RemoteEngine
from service.engines.wire import Key, decode_engine, decode_worker
from service.inference.dispatcher import Dispatcher
from service.inference.engine import BatchArrays, Engine, EngineError
from tests.service.tiny_bundle import Arrays

T = TypeVar("T")
WAIT_SECONDS = 60
"""Longer than anything takes on a busy machine: what ends it is a failure."""


def in_loop(work: Callable[[], Awaitable[T]], factory: Callable[[], Any] = uvloop.new_event_loop) -> T:
    """Run `work`, and check that no error of a future or a callback is left without an owner."""
    faults: list[dict[str, Any]] = []

    async def run() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(WAIT_SECONDS):
            return await work()

    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(run())
        gc.collect()
    assert faults == []
    return result


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until this holds."""
    while not condition():
        await asyncio.sleep(0.001)


def key(name: str) -> Key:
    """The key of the model of this name."""
    return Key(name, "1", f"digest of {name}")


@contextlib.asynccontextmanager
async def engine_process(path: Path, *own: OwnEngine, **engines: Engine) -> AsyncIterator[EngineListener]:
    """Listen at `path` with engines of models of these names; at the end it dies, if it has not before."""
    named = [OwnEngine(key(name), engine) for name, engine in engines.items()]
    listener = EngineListener([*own, *named])
    with contextlib.closing(listener.thread):
        await listener.listen(listen(path))
        try:
            yield listener
        finally:
            die(listener)
            await until(lambda: not listener.callers)


def die(listener: EngineListener) -> None:
    """End it as when its process is killed: nobody is told, and what it was doing is lost."""
    assert listener._server is not None
    listener._server.close()
    for caller in listener.callers:
        caller._abort()


def waiting(listener: EngineListener) -> int:
    """Number of jobs without an answer, of all workers."""
    return sum(len(caller._waited) for caller in listener.callers)


class Worker:
    """A worker's way to an engine process."""

    def __init__(self, link: EngineLink, path: Path) -> None:
        self.link = link
        self.path = path
        self.dropped: list[str] = []
        self.dispatcher = Dispatcher(link, on_drop=self.dropped.append)

    def engine(self, name: str = "m", path: Path | None = None) -> RemoteEngine:
        """The model of this name."""
        return self.link.engine(path or self.path, *_fields(key(name)))

    async def ask(self, x: int, name: str = "m", **options: Any) -> int:
        """Run one request, and return its one number."""
        answer = await self.dispatcher.run(self.engine(name), row(x), **options)
        return int(answer.outputs["y"])

    def asks(self, *xs: int, **options: Any) -> list[asyncio.Task[int]]:
        """Begin to run requests, which are sent in this order."""
        return [asyncio.create_task(self.ask(x, **options)) for x in xs]


def _fields(named: Key) -> tuple[str, str, str]:
    return named.name, named.version, named.digest


@contextlib.asynccontextmanager
async def worker(path: Path) -> AsyncIterator[Worker]:
    """A worker that uses the engine process at `path`."""
    link = EngineLink()
    try:
        await link.open(path)
        link.use(path)
        yield Worker(link, path)
    finally:
        await link.close()


def row(x: int) -> Arrays:
    """The arrays of one request."""
    return {"x": np.array(x)}


class Held:
    """Doubles `x`. A run waits for those of its rows that `hold` has named, until `release`.

    The event loop of the test turns meanwhile; `batches` are the rows of each run.
    """

    provider = "cpu"
    thread_safe = False

    def __init__(self, largest_batch: int = 4) -> None:
        self.largest_batch = largest_batch
        self.error: Exception | None = None
        self.batches: list[list[int]] = []
        self.held: set[int] = set()

    def run(self, batch: BatchArrays) -> Arrays:
        """Note the batch, wait, and answer or fail."""
        rows = np.asarray(batch["x"]).tolist()
        self.batches.append(rows)
        while self.held.intersection(rows):
            time.sleep(0.001)
        if self.error is not None:
            raise self.error
        return {"y": np.asarray(batch["x"]) * 2}

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Make one run."""
        self.run(batch)
        yield


@contextlib.asynccontextmanager
async def busy(one: Worker, engine: Held, x: int = 0) -> AsyncIterator[asyncio.Task[int]]:
    """The engine is at work on this request, and will not end before the context does."""
    engine.held.add(x)
    (first,) = one.asks(x)
    await until(lambda: engine.batches and x in engine.batches[-1])
    try:
        yield first
    finally:
        engine.held.discard(x)
        with contextlib.suppress(EngineError):
            await first


class Peer:
    """One end of a raw connection, which says whatever a test wants it to say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._heard: list[Any] = []

    @classmethod
    async def open(cls, path: Path) -> Peer:
        """Connect as a worker would."""
        return cls(*await asyncio.open_unix_connection(str(path)))

    def say(self, *messages: Any) -> None:
        """Send messages, or bytes as they are, in one piece."""
        self._writer.write(b"".join(one if isinstance(one, bytes) else frame(one) for one in messages))

    async def hear(self) -> Any:
        """Return the next message, or None at the end."""
        while not self._heard:
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:  # What it sent was not read.
                return None
            if not data:
                return None
            self._heard += map(_decode, self._frames.feed(data))
        return self._heard.pop(0)

    async def leave(self) -> None:
        """Close it."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def _decode(body: memoryview) -> Any:
    """Tags tell who has said it."""
    return decode_worker(body) if body[1] < 3 else decode_engine(body)


@contextlib.asynccontextmanager
async def raw_process(path: Path, talk: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[list[Peer]]:
    """Listen as an engine process would, and `talk` with each worker; yields the connections."""
    peers: list[Peer] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(peer := Peer(reader, writer))
        await talk(peer)

    server = await asyncio.start_unix_server(meet, sock=listen(path))
    try:
        yield peers
    finally:
        server.close()
        for peer in peers:
            await peer.leave()


def packed(dtype: str, shape: tuple[int, ...], data: bytes) -> Packed:
    """One array `x` as another program may send it, whether that makes sense or not."""
    return Packed(msgpack.encode([Field("x", dtype, shape)]), data)
