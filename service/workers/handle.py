"""Start a worker process, and give it orders over a channel."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from service.bundles.model import BundleError
from service.bundles.switching import Interrupted
from service.bundles.trial import child_environment
from service.settings import Settings
from service.telemetry.exposition import FOLDER_VARIABLE
from service.workers.messages import Channel, Command, NumberedCommand, Refused, Reply, Start

_log = logging.getLogger(__name__)
_STDERR: Final = 2
_DECODER: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)

ReplyT = TypeVar("ReplyT", bound=Reply)


class WorkerGone(Interrupted):
    """The worker has ended, or will not answer any more."""


class WorkerProcess:
    """One running worker, in one of the numbered places (`slot`)."""

    def __init__(self, slot: int, process: Process, channel: Channel[Reply]) -> None:
        self.slot = slot
        self._process = process
        self._channel = channel
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._gone = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, slot: int, public: socket.socket, folder: Path, settings: Settings) -> Self:
        """Start a worker that shares the listening socket `public` and keeps its metrics in `folder`."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                descriptors = (theirs.fileno(), public.fileno())
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "service.workers.worker", *map(str, (*descriptors, slot))),
                    stdin=DEVNULL,
                    stdout=_STDERR,
                    pass_fds=descriptors,
                    env=_environment(folder),
                    # Ctrl-C and the terminal's hang-up are for the supervisor, which then tells its workers.
                    start_new_session=True,
                )
            undo.pop_all()
        worker = cls(slot, process, await Channel.open(ours, _DECODER))
        worker.tell(Start(dump_settings(settings)))
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: Command) -> None:
        """Give an order without waiting for its answer."""
        self._channel.send(NumberedCommand(next(self._numbers), command))

    async def ask(self, command: Command, kind: type[ReplyT]) -> ReplyT:
        """Give an order and wait for its answer, which is of this kind.

        Raises `BundleError` if the worker refuses a bundle, `WorkerGone` if it ends before it answers, `RuntimeError`
        if it fails.
        """
        if self._gone:
            raise self._ended()
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._channel.send(NumberedCommand(number, command))
        try:
            reply = await future
        finally:
            self._waiting.pop(number, None)
        if isinstance(reply, Refused):
            raise RuntimeError(reply.reason) if reply.fault else BundleError(reply.reason)
        if not isinstance(reply, kind):
            raise RuntimeError(f"a worker answered {type(command).__name__} with {type(reply).__name__}")
        return reply

    async def wait(self) -> int:
        """Return its exit status once it has ended; minus the signal that ended it."""
        status = await self._process.wait()
        await self._reading
        return status

    def terminate(self) -> None:
        """Ask it to finish what it has and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _ended(self) -> WorkerGone:
        return WorkerGone(f"worker {self.slot} (process {self.pid}) has ended")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self) -> None:
        try:
            while (reply := await self._channel.receive()) is not None:
                future = self._waiting.get(reply.id)
                if future is not None and not future.done():
                    future.set_result(reply)
        except (ValueError, msgspec.DecodeError):
            _log.exception("worker %d (process %d) does not speak as it should; killing it", self.slot, self.pid)
            self.kill()
        finally:
            self._gone = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._ended())
            self._channel.close()


def dump_settings(settings: Settings) -> dict[str, Any]:
    """Dump all settings as JSON for `Settings(**...)`, secrets in the clear."""
    return {**settings.model_dump(mode="json"), "api_keys": [key.get_secret_value() for key in settings.api_keys]}


def _environment(folder: Path) -> dict[str, str]:
    """Make an environment with the supervisor's module path."""
    return {**child_environment(), FOLDER_VARIABLE: str(folder)}
