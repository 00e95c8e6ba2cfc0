"""Start a child process, give it orders, and end it if it hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeVar

import msgspec

from service.bundles.model import BundleError, Interrupted
from service.bundles.trial import child_environment
from service.inference.watch import HUNG_STATUS
from service.settings import Settings
from service.workers.heartbeat import SILENT_SECONDS, Pulse, within
from service.workers.messages import Beat, Channel, Command, Message, Notice, NumberedCommand, Refused, Reply, Start

_log = logging.getLogger(__name__)
_STDERR: Final = 2
_MARGIN_SECONDS: Final = 3.0
_DECODER: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)

ANSWER_SECONDS: Final = 10.0
"""A process that takes longer to do what costs it no time hangs."""

End = Literal["hung", "killed", "failed", "stopped"]
"""Why a process has ended."""

ReplyT = TypeVar("ReplyT", bound=Reply)
ResultT = TypeVar("ResultT")


class ProcessGone(Interrupted):
    """The process has ended, or will not answer any more."""


class EngineFailed(Interrupted, RuntimeError):
    """Engine processes are not there or not reached, which is no fault of a bundle."""


class ProcessLate(Interrupted, RuntimeError):
    """The process did not answer an order in time; it may still carry it out."""


class ChildProcess:
    """One running child, in one of the numbered places (`slot`) of its `kind`.

    It is killed if it stops beating, and if it does not end in time when it is told to.
    """

    def __init__(
        self, kind: str, slot: int, process: Process, channel: Channel[Message], hear: Hear, end_seconds: float
    ) -> None:
        self._kind = kind
        self.slot = slot
        self.hung = False
        self._process = process
        self._channel = channel
        self._hear = hear
        self._end_seconds = end_seconds
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._gone = False
        self._pulse = Pulse()
        self._reading = asyncio.create_task(self._read())
        self._guarding = asyncio.create_task(self._guard())

    @classmethod
    async def _start(
        cls,
        kind: str,
        slot: int,
        settings: Settings,
        hear: Hear,
        *,
        share: Sequence[int] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Start the module of this kind with a channel, and the descriptors that it shares."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                descriptors = (theirs.fileno(), *share)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", f"service.workers.{kind}", *map(str, descriptors)),
                    stdin=DEVNULL,
                    stdout=_STDERR,
                    pass_fds=descriptors,
                    env={**child_environment(), **variables},
                    # Ctrl-C and the terminal's hang-up are for the supervisor, which then tells its children.
                    start_new_session=True,
                )
            undo.pop_all()
        channel = await Channel.open(ours, _DECODER)
        child = cls(kind, slot, process, channel, hear, settings.drain_seconds + _MARGIN_SECONDS)
        child.tell(Start(dump_settings(settings)))
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def answers(self) -> bool:
        """Tell whether it has started and has not gone."""
        return self._pulse.has_begun and not self._gone

    async def started(self) -> None:
        """Wait until it beats, or has ended."""
        await self._pulse.begins()

    def tell(self, command: Command) -> None:
        """Give an order without waiting for its answer."""
        self._channel.send(NumberedCommand(next(self._numbers), command))

    async def ask(self, command: Command, kind: type[ReplyT], seconds: float = ANSWER_SECONDS) -> ReplyT:
        """Give an order and wait for its answer, which is of this kind.

        The time limit begins when the process has started. Raises `BundleError` if it refuses a bundle, `ProcessGone`
        if it ends before it answers, `ProcessLate` after `seconds`, `EngineFailed` if it lost its engine process,
        `RuntimeError` if it fails.
        """
        if self._gone:
            raise self._ended()
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._channel.send(NumberedCommand(number, command))
        try:
            await self.started()
            reply = await within(future, seconds)
        except TimeoutError:
            order = type(command).__name__
            raise ProcessLate(f"{self} did not answer {order} within {seconds:g} seconds") from None
        finally:
            self._waiting.pop(number, None)
        if isinstance(reply, Refused):
            raise _problem(reply)
        if not isinstance(reply, kind):
            raise RuntimeError(f"{self} answered {type(command).__name__} with {type(reply).__name__}")
        return reply

    async def unless_gone(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Do work that is in vain without this process. Raises `ProcessGone` once it has ended."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise self._ended()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def wait(self) -> int:
        """Return its exit status once it has ended; minus the signal that ended it."""
        status = await self._process.wait()
        await asyncio.wait({self._reading})  # Which whoever stops waiting may not cancel.
        self._guarding.cancel()
        return status

    def terminate(self, seconds: float | None = None) -> None:
        """Ask it to finish what it has and end.

        It is killed if that takes longer than so many seconds, or else than the drain allows.
        """
        self._signal(signal.SIGTERM)
        self._guarding.cancel()
        self._guarding = asyncio.create_task(self._end_in_time(self._end_seconds if seconds is None else seconds))

    def why_ended(self, status: int) -> End:
        """Say why it has ended with this status."""
        if self.hung:
            return "hung"
        if status == 0:
            return "stopped"
        return "killed" if status == -signal.SIGKILL else "failed"

    def give_up(self, why: str) -> None:
        """End it at once, since it hangs."""
        _log.error("%s hangs, so it is killed: %s", self, why)
        self.hung = True
        self._signal(signal.SIGKILL)

    def __str__(self) -> str:
        return f"{self._kind} {self.slot} (process {self.pid})"

    def _ended(self) -> ProcessGone:
        return ProcessGone(f"{self} has ended")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _guard(self) -> None:
        """Kill it when it has been silent for too long, or does not end."""
        try:
            await self._pulse.watch()
        except TimeoutError:
            self.give_up("it does not beat")
            return
        with contextlib.suppress(TimeoutError):
            await within(asyncio.ensure_future(self._process.wait()), SILENT_SECONDS)
            return
        self.give_up("it has closed its channel, but does not end")

    async def _end_in_time(self, seconds: float) -> None:
        try:
            await within(asyncio.ensure_future(self._process.wait()), seconds)
        except TimeoutError:
            self.give_up(f"it was told to end {seconds:g} seconds ago")

    async def _read(self) -> None:
        try:
            while (message := await self._channel.receive()) is not None:
                self._take(message)
        except Exception:  # Whatever is wrong, nobody hears it any more.
            _log.exception("%s does not speak as it should; killing it", self)
            self._signal(signal.SIGKILL)
        finally:
            self._gone = True
            self._pulse.stop()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._ended())
            self._channel.close()

    def _take(self, message: Message) -> None:
        """Pass on one message."""
        if isinstance(message, Beat):
            self._pulse.beat()
        elif isinstance(message, Reply):
            future = self._waiting.get(message.id)
            if future is not None and not future.done():
                future.set_result(message)
        else:
            self._hear(self, message)


class WorkerProcess(ChildProcess):
    """One running worker, which answers requests."""

    @classmethod
    async def start(cls, slot: int, public: socket.socket, settings: Settings, hear: Hear) -> Self:
        """Start a worker that shares the listening socket `public`; `hear` is told its notices."""
        return await cls._start("worker", slot, settings, hear, share=[public.fileno()])


class EngineProcess(ChildProcess):
    """One running engine process, which runs models for workers."""

    @classmethod
    async def start(cls, slot: int, settings: Settings, variables: Mapping[str, str]) -> Self:
        """Start one, with `variables` added to its environment. It needs none of the secrets."""
        safe = settings.model_copy(update={"api_keys": (), "catalogue_live": None})
        return await cls._start("engine", slot, safe, _refuse, variables=variables)

    def why_ended(self, status: int) -> End:
        return "hung" if status == HUNG_STATUS else super().why_ended(status)


def _problem(refused: Refused) -> Exception:
    kinds: dict[str, type[Exception]] = {"content": BundleError, "fault": RuntimeError, "lost": EngineFailed}
    return kinds[refused.cause](refused.reason)


Hear = Callable[[Any, Notice], None]
"""Told which process says what unasked, beats apart. Raises `ValueError` for what makes no sense."""


def _refuse(engine: EngineProcess, notice: Notice) -> None:
    """Take nothing from an engine process but beats."""
    raise ValueError(f"{engine} sent {type(notice).__name__}")


def dump_settings(settings: Settings) -> dict[str, Any]:
    """Dump all settings as JSON for `Settings(**...)`, secrets in the clear."""
    live = settings.catalogue_live
    return {
        **settings.model_dump(mode="json"),
        "api_keys": [key.get_secret_value() for key in settings.api_keys],
        "catalogue_live": None if live is None else live.get_secret_value(),
    }
