"""Take jobs of workers in an engine process, and send their answers back.

All jobs go to the one inference thread, which batches those of all workers together.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

from msgspec import MsgspecError

from service.engines.frames import FrameReader, frame
from service.engines.private import check_peer
from service.engines.wire import (
    PROTOCOL,
    Cancel,
    Done,
    Failed,
    Hello,
    Key,
    Refused,
    Results,
    Run,
    Served,
    Welcome,
    decode_worker,
    pack,
    unpack,
)
from service.inference.engine import Answer, Engine, Job
from service.inference.thread import InferenceThread

_log = logging.getLogger(__name__)
_MOST_UNSENT_BYTES: Final = 64 * 1024 * 1024
"""A worker that leaves so much unread hangs: it is left, and what it waits for is dropped."""


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """A model that this process runs."""

    key: Key
    engine: Engine


class EngineListener:
    """Accept workers until closed. Used from the event loop only."""

    def __init__(self, thread: InferenceThread, engines: Sequence[OwnEngine]) -> None:
        self.thread = thread
        self.engines = engines
        self.callers: set[Caller] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Accept workers on this socket from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Caller(self), sock=listening)

    async def close(self) -> None:
        """Accept no more, and return once all workers have left."""
        if self._server is not None:
            self._server.close()
        while self.callers:
            await asyncio.sleep(0.01)


class Caller(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, listener: EngineListener) -> None:
        self._listener = listener
        self._thread = listener.thread
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._jobs: dict[int, Job] = {}
        self._results: list[Done | Failed] = []
        self._seen = -1
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._listener.callers.add(self)
        try:
            check_peer(cast("socket.socket", transport.get_extra_info("socket")))
        except OSError as error:
            _log.error("a connection is refused: %s", error)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._take(decode_worker(body))
        except (MsgspecError, OSError, ValueError, IndexError) as error:
            _log.error("a worker said what is not understood, so its connection is closed: %s", error)
            self._abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._listener.callers.discard(self)
        for job in self._jobs.values():
            job.future.cancel()

    def _take(self, message: Hello | Run | Cancel) -> None:
        match message:
            case Run() if self._greeted:
                self._run(message)
            case Cancel(number) if self._greeted:
                if (job := self._jobs.get(number)) is not None:
                    job.future.cancel()
            case Hello(protocol) if not self._greeted:
                self._welcome(protocol)
            case _:
                raise ValueError("the first message, and no other, must be a greeting")

    def _welcome(self, protocol: int) -> None:
        assert self._transport is not None
        if protocol != PROTOCOL:
            self._transport.write(
                frame(Refused(f"this worker speaks version {protocol}, the engine process {PROTOCOL}"))
            )
            self._transport.close()
            return
        self._greeted = True
        served = [Served(one.key, one.engine.provider, one.engine.largest_batch) for one in self._listener.engines]
        self._transport.write(frame(Welcome(PROTOCOL, tuple(served))))

    def _run(self, message: Run) -> None:
        """Hand one job to the inference thread.

        Raises `ValueError` or `IndexError` for what makes no sense.
        """
        if not 0 <= message.model < len(self._listener.engines):
            raise IndexError(f"there is no model of number {message.model}")
        if message.id <= self._seen:
            raise ValueError(f"job {message.id} comes after job {self._seen}")
        loop = asyncio.get_running_loop()
        engine = self._listener.engines[message.model].engine
        future: asyncio.Future[Answer] = loop.create_future()
        job = Job(engine, unpack(message.row), future, loop, message.deadline, message.background)
        self._seen, self._jobs[message.id] = message.id, job
        future.add_done_callback(functools.partial(self._done, message.id, job))
        self._thread.in_background += job.background
        self._thread.submit(job)

    def _done(self, number: int, job: Job, future: asyncio.Future[Answer]) -> None:
        """Note a result; those of one turn of the event loop are sent together."""
        del self._jobs[number]
        self._thread.in_background -= job.background
        if future.cancelled():
            return
        self._results.append(_result(number, future))
        if len(self._results) == 1:
            asyncio.get_running_loop().call_soon(self._flush, job.engine)

    def _flush(self, engine: Engine) -> None:
        """Send what has been done, with the backlog."""
        results, self._results = self._results, []
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        free_at = perf_counter() + self._thread.seconds_until_free(engine)
        transport.write(frame(Results(results, self._seen, free_at)))
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            _log.error("a worker does not read its answers, so its connection is closed")
            self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _result(number: int, future: asyncio.Future[Answer]) -> Done | Failed:
    """Make a message of a job's outcome: outputs that cannot be sent are a failure."""
    error = future.exception()
    if error is not None:
        return Failed(number, str(error))
    done = future.result()
    try:
        packed = pack(done.outputs)
    except (AttributeError, ValueError) as fault:  # Values of an array of objects are no arrays.
        return Failed(number, f"what the engine gave cannot be sent: {fault}")
    return Done(number, done.started, done.infer_seconds, done.batch_size, packed)
