"""Take jobs of workers in an engine process, and send their answers back.

All jobs go to the one inference thread, which batches those of all workers together.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

from msgspec import MsgspecError

from service.engines.frames import FrameReader, frame
from service.engines.packing import PackedRow, pack_batch, stack_packed
from service.engines.private import check_peer
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
    decode_worker,
)
from service.inference.engine import BatchArrays, Engine, EngineError, Job, RequestArrays
from service.inference.runs import FinishedRun
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
    """Accept workers until closed, and run their jobs on a thread of its own.

    Used from the event loop only. Who makes it closes the `thread`. Models may be added to `engines`; workers that come
    later are told of them.
    """

    def __init__(self, engines: Iterable[OwnEngine] = ()) -> None:
        self.thread = InferenceThread(_PackedForm())
        self.engines = list(engines)
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
        self._waited: dict[int, _Outcome] = {}
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
        for outcome in list(self._waited.values()):
            outcome.give_up()

    def _take(self, message: Hello | Run | Cancel) -> None:
        match message:
            case Run() if self._greeted:
                self._run(message)
            case Cancel(number) if self._greeted:
                if (outcome := self._waited.get(number)) is not None:
                    outcome.give_up()
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
        engine = self._listener.engines[message.model].engine
        outcome = _Outcome(self, message.id, message.model, message.background, message.deadline)
        row, loop = PackedRow(message.row), asyncio.get_running_loop()
        self._seen, self._waited[message.id] = message.id, outcome
        self._thread.in_background += message.background
        self._thread.submit(Job(engine, row, outcome, loop, message.deadline, message.background))

    def leave(self, number: int, background: bool) -> None:
        """Note that a job has ended, in whatever way."""
        self._waited.pop(number, None)
        self._thread.in_background -= background

    def tell(self, results: list[Done | Failed], model: int, ran: Ran | None = None) -> None:
        """Send results of jobs for the model of this number, with the backlog."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        free, idle = self._thread.seconds_until_free(self._listener.engines[model].engine)
        now = perf_counter()
        transport.write(frame(Results(results, self._seen, now + free, now + idle, ran)))
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            _log.error("a worker does not read its answers, so its connection is closed")
            self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Outcome:
    """Pass what becomes of a job on to its worker.

    It costs less than a future, which takes a turn of the event loop for itself.
    """

    __slots__ = ("_background", "_deadline", "_done", "caller", "model", "number")

    def __init__(self, caller: Caller, number: int, model: int, background: bool, deadline: float) -> None:
        self.caller = caller
        self.number = number
        self.model = model
        self._background = background
        self._deadline = deadline
        self._done = False

    def done(self) -> bool:
        # A worker that is stopped or starved does not say that it waits no longer.
        return self._done or perf_counter() > self._deadline

    def give_up(self) -> None:
        """Drop the job: nobody waits for it."""
        if not self._done:
            self._done = True
            self.caller.leave(self.number, self._background)

    def set_exception(self, exception: Exception, /) -> None:
        self.give_up()
        self.caller.tell([Failed(self.number, str(exception))], self.model)


class _PackedForm:
    """Hold requests and answers as the bytes of messages.

    Every job is one of a worker. The answers of a batch to one worker are sent together.
    """

    def stack(self, rows: Sequence[RequestArrays]) -> BatchArrays:
        """Stack the bytes of all rows."""
        return stack_packed(rows)

    def deliver(self, run: FinishedRun) -> None:
        """Send every worker the answers to its jobs.

        One whose jobs are all late is told of the run, too: else it would not learn that runs have become slow.
        """
        model = cast("_Outcome", run.jobs[0].future).model
        failed = isinstance(run.outcome, EngineError)
        ran = None if failed else Ran(model, run.started, run.seconds, len(run.jobs))
        told: dict[Caller, list[Done | Failed]] = {}
        for job, result in zip(run.jobs, _results(run), strict=True):
            outcome = cast("_Outcome", job.future)
            results = told.setdefault(outcome.caller, [])
            if not outcome.done():
                results.append(result)
            outcome.give_up()
        for caller, results in told.items():
            caller.tell(results, model, ran)


def _results(run: FinishedRun) -> list[Done | Failed]:
    """Return what each job of a run is told."""
    numbers, size = [cast("_Outcome", job.future).number for job in run.jobs], len(run.jobs)
    if isinstance(run.outcome, EngineError):
        return [Failed(number, str(run.outcome)) for number in numbers]
    try:
        rows = pack_batch(run.outcome, size)
    except (AttributeError, ValueError) as fault:  # Values of an array of objects are no arrays.
        return [Failed(number, f"what the engine gave cannot be sent: {fault}") for number in numbers]
    return [Done(number, row) for number, row in zip(numbers, rows, strict=True)]
