"""Talk to one engine process, as a worker."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from msgspec import MsgspecError

from service.engines.backlog import Backlog
from service.engines.frames import FrameReader, frame
from service.engines.packing import pack, unpack
from service.engines.private import check_peer, check_private
from service.engines.wire import (
    PROTOCOL,
    Cancel,
    Done,
    Failed,
    Hello,
    Key,
    Ran,
    Refused,
    Results,
    Run,
    Served,
    Welcome,
    decode_engine,
)
from service.inference.engine import Answer, EngineError, Job

_log = logging.getLogger(__name__)
_GREETING_SECONDS: Final = 5.0
_MOST_UNSENT_BYTES: Final = 8 * 1024 * 1024
"""An engine process that leaves so much unread hangs, or has far more work than it can do in time."""

OnRun = Callable[[Key, int, float], None]
"""Told of every run that was made for this worker: its model, the number of its jobs, its seconds."""

OnEnd = Callable[["Connection"], None]
"""Told of the connection itself."""


class Connection(asyncio.Protocol):
    """One connection, from its greeting to its end. Used from the event loop only.

    `served` are the models of the process by their keys, each with its number; `on_end` is called once it has ended.
    """

    def __init__(self, path: Path, on_run: OnRun, on_end: OnEnd) -> None:
        self.path = path
        self.backlog = Backlog()
        self.pending: dict[int, Job] = {}
        self._on_run = on_run
        self._on_end = on_end
        self._keys: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._next_id = 0
        self._why = "the engine process has ended"
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self.served: dict[Key, Served] = {}

    @classmethod
    async def open(cls, path: Path, on_run: OnRun, on_end: OnEnd) -> Connection:
        """Connect and greet. Raises `OSError`, `NotPrivate` too, and `EngineError` for another version.

        If the process ends before it has answered, that is a `ConnectionError`.
        """
        check_private(path.parent)
        check_private(path)
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_unix_connection(lambda: cls(path, on_run, on_end), str(path))
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                welcome = await opened._welcome
        except BaseException as error:  # If this is cancelled nobody else would close it.
            opened.close()
            if isinstance(error, TimeoutError):
                late = f"the engine process did not answer a greeting in {_GREETING_SECONDS:g} s"
                raise EngineError(late) from None
            raise
        opened.served = {one.key: one for one in welcome.served}
        opened._keys = [one.key for one in welcome.served]
        opened._numbers = {key: number for number, key in enumerate(opened._keys)}
        return opened

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def runs(self, key: Key) -> bool:
        """Tell whether jobs for this model may be sent."""
        return self.is_open and key in self._numbers

    def submit(self, key: Key, job: Job) -> None:
        """Send a job, whose future gets an `Answer` or an `EngineError`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            job.future.set_exception(EngineError(self._why))
            return
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            job.future.set_exception(EngineError("the engine process does not read what is sent to it"))
            return
        try:
            row = pack(job.row)
        except ValueError as error:
            job.future.set_exception(EngineError(str(error)))
            return
        number, self._next_id = self._next_id, self._next_id + 1
        self.pending[number] = job
        transport.write(frame(Run(number, self._numbers[key], job.deadline, job.background, row)))

    def withdraw(self, job: Job) -> int | None:
        """Tell that nobody waits for this job any more.

        Returns its number, or None if it is not one of this connection.
        """
        for number, waiting in self.pending.items():
            if waiting is job:
                del self.pending[number]
                if self.is_open:
                    assert self._transport is not None
                    self._transport.write(frame(Cancel(number)))
                return number
        return None

    def close(self) -> None:
        """End it at once; jobs without an answer get an `EngineError`.

        It does not wait for the process to read what was sent.
        """
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        try:
            check_peer(cast("socket.socket", transport.get_extra_info("socket")))
        except OSError as error:
            self._end(error)
        else:
            self._transport.write(frame(Hello(PROTOCOL)))

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._take(decode_engine(body))
        except (MsgspecError, OSError, ValueError) as error:
            _log.error("an engine process said what is not understood, so its connection is closed: %s", error)
            self._end(EngineError(f"an answer of the engine process is not understood: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail_welcome(error or ConnectionResetError(self._why))
        for job in self.pending.values():
            _settle(job, EngineError(self._why))
        self.pending.clear()
        self._on_end(self)

    def _take(self, message: Welcome | Refused | Results) -> None:
        match message:
            case Results(results, seen, free_at, idle_at, ran):
                self.backlog.tell(seen, free_at, idle_at)
                if ran is not None:
                    self._note(ran)
                for result in results:
                    self._take_result(result, ran)
            case Welcome(protocol) if protocol == PROTOCOL and not self._welcome.done():
                self._welcome.set_result(message)
            case Welcome(protocol):
                self._end(EngineError(f"the engine process speaks version {protocol}, this worker {PROTOCOL}"))
            case Refused(reason):
                self._end(EngineError(reason))

    def _note(self, ran: Ran) -> None:
        """Pass on a run, though it may be too late for all answers. Raises `ValueError`."""
        if not 0 <= ran.model < len(self._keys):
            raise ValueError(f"there is no model of number {ran.model}")
        self._on_run(self._keys[ran.model], ran.batch_size, ran.seconds)

    def _take_result(self, result: Done | Failed, ran: Ran | None) -> None:
        job = self.pending.get(result.id)
        if job is None:  # It was withdrawn while it ran.
            return
        if isinstance(result, Failed):
            del self.pending[result.id]
            _settle(job, EngineError(result.reason))
            return
        if ran is None:
            raise ValueError("outputs came without their run")
        outputs = unpack(result.outputs)
        del self.pending[result.id]  # Not before: if its outputs cannot be read it gets the connection's error.
        _settle(job, Answer(outputs, ran.started - job.submitted, ran.seconds, ran.batch_size, ran.started))

    def _end(self, error: Exception) -> None:
        """Close the connection; whoever waits for the welcome or an answer gets this error."""
        self._why = str(error)
        self._fail_welcome(error)
        self.close()

    def _fail_welcome(self, error: Exception) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(error)
            self._welcome.exception()  # Nobody else asks for it if `open` was cancelled.


def _settle(job: Job, outcome: Any) -> None:
    """Give a job its answer or its error, unless nobody waits for it any more."""
    if job.future.done():
        return
    if isinstance(outcome, EngineError):
        job.future.set_exception(outcome)
    else:
        cast("asyncio.Future[Answer]", job.future).set_result(outcome)
