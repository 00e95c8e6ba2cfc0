"""Run models for all workers, as a process of its own.

It loads what the supervisor names, then listens on the path that it is told, and ends when its workers have left.
Started by `service/workers/handle.py` only; the argument is the descriptor of the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from service.bundles.folder import BundleFolder
from service.bundles.load import digest, identity
from service.bundles.model import BundleError, Model
from service.bundles.opening import LocalOpener
from service.engines.link import KEPT_SECONDS
from service.engines.listener import EngineListener, OwnEngine
from service.engines.private import listen
from service.engines.wire import Key
from service.inference.dispatcher import Dispatcher
from service.inference.onnx.choose import session_config
from service.inference.watch import HUNG_STATUS, EngineWatch, stop_on_hang
from service.ranking.warmup import warm_engine
from service.settings import Settings
from service.telemetry.pacing import spare_what_is_loaded
from service.transport.sockets import stop_event
from service.workers import messages
from service.workers.child import run_child, take_settings
from service.workers.heartbeat import BEAT_SECONDS

_log = logging.getLogger(__name__)
_LEAVING_SECONDS: Final = KEPT_SECONDS + 1.0
"""Least time for workers to leave after a reload, however short the drain of the service is."""

_FAREWELL_SECONDS: Final = 0.1
"""Time to tell workers that what they wait for will not come."""


class EngineServer:
    """Carry out the supervisor's orders."""

    def __init__(
        self, settings: Settings, channel: messages.Channel[messages.NumberedCommand], listener: EngineListener
    ) -> None:
        self._settings = settings
        self._config = session_config(settings, settings.provider)  # Which the supervisor has tried.
        self._channel = channel
        self._dispatcher = Dispatcher(listener.thread)
        self._folder = BundleFolder(settings.bundles)
        self._path: Path | None = None
        self._inode = 0
        self._alone = False
        self.listener = listener
        self.watch = EngineWatch(
            listener.thread, hang_seconds=settings.engine_hang_seconds, load_seconds=settings.load_timeout_seconds
        )

    async def obey(self, stop: asyncio.Event) -> None:
        """Carry out orders until the supervisor has gone; then stop."""
        async with asyncio.TaskGroup() as group:
            while (order := await self._channel.receive()) is not None:
                group.create_task(self._carry_out(order))
            self._alone = True
            stop.set()

    def remove_socket(self) -> None:
        """Remove the socket's file, and the supervisor's folder if that has gone."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # Else it is that of this process's successor.
                self._path.unlink()
            if self._alone:
                self._path.parent.rmdir()  # The last of several engine processes finds it empty.

    async def beat(self) -> NoReturn:
        """Tell the supervisor every second that the event loop turns."""
        while True:
            self._channel.send(messages.Beat())
            await asyncio.sleep(BEAT_SECONDS)

    async def _carry_out(self, order: messages.NumberedCommand) -> None:
        self._channel.send(await self._answer(order))

    async def _answer(self, order: messages.NumberedCommand) -> messages.Reply:
        try:
            match order.command:
                case messages.LoadModel(name, version, quietly):
                    return messages.Prepared(order.id, await self._load(name, version, quietly))
                case messages.ListenAt(path):
                    spare_what_is_loaded()
                    self._path = Path(path)
                    await self.listener.listen(listen(self._path))
                    self._inode = self._path.stat().st_ino
                case other:
                    raise RuntimeError(f"an engine process does not know {type(other).__name__}")
        except BundleError as error:
            return messages.Refused(order.id, str(error))
        except Exception as error:
            _log.exception("an order of the supervisor failed")
            return messages.Refused(order.id, f"an engine process failed: {error}", cause="fault")
        return messages.Done(order.id)

    async def _load(self, name: str, version: str, quietly: bool) -> dict[str, str]:
        """Load, check and warm a model; return its identity. Raises `BundleError`."""
        # The trial has replayed the recorded requests on CPU.
        opener = LocalOpener(self._config, golden=self._config.provider != "cpu")
        try:
            async with asyncio.timeout(self._settings.load_timeout_seconds):
                model = await opener.open(self._folder.folder(name, version), quietly=quietly)
                await warm_engine(self._dispatcher, model, quietly)
        except TimeoutError:
            limit = f"{self._settings.load_timeout_seconds} s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS)"
            raise BundleError(f"{name}/{version}: loading and warming it took longer than {limit}") from None
        self._keep(model)
        return identity(model.manifest)

    def _keep(self, model: Model) -> None:
        key = Key(model.name, model.version, digest(model.manifest))
        self.listener.engines.append(OwnEngine(key, model.engine))
        self.watch.know(model.engine, f"{model.name} {model.version}")


async def work(control: socket.socket) -> int:
    """Run models until told to stop, or left alone; return the exit status."""
    stop = stop_event()
    taken = await take_settings(control)
    if taken is None:
        return 0
    channel, settings = taken
    listener = EngineListener()
    with contextlib.closing(listener.thread):
        server = EngineServer(settings, channel, listener)
        async with asyncio.TaskGroup() as group:
            works = (server.obey(stop), server.beat(), stop_on_hang(server.watch, stop))
            tasks = [group.create_task(one) for one in works]
            await stop.wait()
            await _see_workers_off(server, max(settings.drain_seconds, _LEAVING_SECONDS))
            server.remove_socket()
            for task in tasks:
                task.cancel()
    return HUNG_STATUS if server.watch.hung else 0


async def _see_workers_off(server: EngineServer, seconds: float) -> None:
    """Wait until all workers have left.

    They do when they end, or have another engine process.
    """
    if server.watch.hung:
        await asyncio.sleep(_FAREWELL_SECONDS)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await server.listener.close()


def main() -> None:
    """Run an engine process until it ends."""
    run_child(work(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
