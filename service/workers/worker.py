"""Answer requests on a shared socket, as one of several processes.

It carries out the orders of the supervisor, and ends when that has gone. Started by `service/workers/handle.py` only;
the arguments are the descriptors of the channel and of the listening socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.contract.catalogue.manifest import CatalogueError
from service.access.keys import ApiKeys
from service.bundles.load import identity
from service.bundles.model import BundleError, Interrupted, Model
from service.catalogues.load import CheckedCatalogue
from service.catalogues.opening import Opened
from service.engines.link import EngineLink
from service.engines.opener import RemoteOpener
from service.inference.onnx.choose import session_config
from service.inference.onnx.session import SessionConfig
from service.inference.watch import HUNG_STATUS, stop_on_hang
from service.scenes.scene import SceneError
from service.server import Core, assemble, live_values, settle
from service.status import describe_model, describe_models
from service.telemetry.exposition import SharedExposition
from service.telemetry.pacing import spare_what_is_loaded
from service.transport.listener import Listener
from service.transport.sockets import stop_event
from service.workers import messages
from service.workers.child import run_child, take_settings
from service.workers.reporting import Reporter
from service.workers.supervisor_client import SupervisorClient

_log = logging.getLogger(__name__)
_FLUSH_SECONDS: Final = 2.0


@dataclass(frozen=True)
class _Preparing:
    """Hold a version that is being prepared.

    `engine` is the socket of the engine process that runs it, if one does.
    """

    task: asyncio.Task[Model]
    engine: Path | None


class Worker:
    """Carry out orders, on the event loop that also answers requests."""

    def __init__(
        self,
        core: Core,
        listener: Listener,
        channel: messages.Channel[messages.NumberedCommand],
        reporter: Reporter,
        supervisor: SupervisorClient,
        stop: asyncio.Event,
        link: EngineLink | None = None,
    ) -> None:
        self._core = core
        self._listener = listener
        self._channel = channel
        self._reporter = reporter
        self._supervisor = supervisor
        self._stop = stop
        self._link = link
        self._preparing: dict[int, _Preparing] = {}
        self._opening: dict[int, asyncio.Task[Opened]] = {}
        self._parts: dict[int, Callable[[], None]] = {}
        """What lets prepared scenes or catalogues serve, by the number of the switch."""
        self._listening: asyncio.Task[None] | None = None

    async def obey(self) -> None:
        """Carry out orders until the supervisor has gone; then stop."""
        async with asyncio.TaskGroup() as group:
            while (order := await self._channel.receive()) is not None:
                group.create_task(self._carry_out(order))
            self._stop.set()

    async def drain(self) -> None:
        """Take no more requests and answer those that have come."""
        if self._listening is not None:
            self._listener.should_exit = True
            await self._listening

    async def _carry_out(self, order: messages.NumberedCommand) -> None:
        try:
            reply = await self._answer(order)
        except (BundleError, SceneError, CatalogueError) as error:
            reply = messages.Refused(order.id, str(error))
        except Interrupted as error:
            reply = messages.Refused(order.id, str(error), cause="lost")
        except Exception as error:
            _log.exception("an order of the supervisor failed")
            reply = messages.Refused(order.id, f"a worker failed: {error}", cause="fault")
        self._channel.send(reply)

    async def _answer(self, order: messages.NumberedCommand) -> messages.Reply:
        registry, loader, live = self._core.registry, self._core.loader, self._core.catalogues
        match order.command:
            case messages.Prepare(number, name, version, engine):
                self._prepare(number, name, version, None if engine is None else Path(engine))
                prepared = await self._prepared(self._preparing[number])
                return messages.Prepared(order.id, identity(prepared.manifest))
            case messages.Commit(number):
                model = self._switch(self._preparing.pop(number))
                described = describe_model(model, registry, live)
                return messages.Described(order.id, [described.model_dump(mode="json")])
            case messages.Status():
                return messages.Described(
                    order.id, [m.model_dump(mode="json") for m in describe_models(registry, live).models]
                )
            case messages.PrepareScenes(number, scenes):
                loader.check_scenes(by_name := {scene.name: scene for scene in scenes})
                self._parts[number] = functools.partial(self._core.scenes.swap, by_name)
            case messages.PrepareCatalogues(number, catalogues):
                await self._open(number, catalogues)
            case messages.CommitPart(number):
                self._parts.pop(number)()
            case messages.FailPart("scenes", reason):
                self._core.scenes.fail(reason)
            case messages.FailPart("catalogues", reason):
                self._core.catalogues.fail(reason)
            case messages.Abort(number):
                self._abort(number)
            case messages.Fail(name, reason):
                registry.fail(name, reason)
            case messages.TakeKeys(keys):
                self._core.keys.swap(keys)
            case messages.Measure():
                await self._reporter.report()
            case messages.CountWindows():
                return messages.Counted(order.id, self._core.metrics.windows())
            case messages.Scraped() | messages.Windows():
                self._supervisor.take(order.command)
            case messages.Drain():
                registry.drain()
            case messages.Loaded():
                registry.loaded()
                settle(registry)
            case messages.Listen():
                await self._listen()
            case messages.Start():
                raise RuntimeError("it has been started already")
        return messages.Done(order.id)

    def _prepare(self, switch: int, name: str, version: str, engine: Path | None) -> None:
        """Begin to prepare a version for the switch of this number."""
        opener = None
        if engine is not None:
            assert self._link is not None
            opener = RemoteOpener(self._link, engine)
        task = asyncio.create_task(self._core.loader.prepare(name, version, opener))
        self._preparing[switch] = _Preparing(task, engine)

    async def _prepared(self, preparing: _Preparing) -> Model:
        """Wait for a version. Raises `BundleError`, and `Interrupted` if an engine process was lost meanwhile."""
        lost = 0 if self._link is None else self._link.lost
        try:
            return await preparing.task
        except BundleError as error:
            if self._link is None or self._link.lost == lost:
                raise
            raise Interrupted(f"the engine process was lost: {error}") from error

    def _switch(self, prepared: _Preparing) -> Model:
        """Let a prepared version serve, with all others by the engine process that runs it."""
        if prepared.engine is not None and self._link is not None:
            self._link.use(prepared.engine)
        model = prepared.task.result()
        self._core.loader.publish(model)
        return model

    def _abort(self, switch: int) -> None:
        """Drop what was prepared.

        It may still be loading, long after the supervisor has given up.
        """
        self._parts.pop(switch, None)
        if (opening := self._opening.pop(switch, None)) is not None:
            opening.cancel()
        if (preparing := self._preparing.pop(switch, None)) is not None:
            preparing.task.cancel()
            if preparing.engine is not None and self._link is not None:
                self._link.forget(preparing.engine)

    async def _open(self, switch: int, catalogues: Sequence[CheckedCatalogue]) -> None:
        """Open catalogues for the switch of this number, unless it is aborted meanwhile."""
        loader = self._core.loader
        task = self._opening[switch] = asyncio.create_task(loader.prepare_catalogues(catalogues))
        opened = await task
        if self._opening.pop(switch, None) is not None:  # Else the order to abort came as it ended.
            self._parts[switch] = functools.partial(loader.publish_catalogues, opened)

    async def _listen(self) -> None:
        if self._stop.is_set():
            return
        self._listening = asyncio.create_task(self._listener.listen())
        self._listening.add_done_callback(lambda _: self._stop.set())
        while not self._listener.started and not self._listening.done():
            await asyncio.sleep(0.001)


async def work(control: socket.socket, public: socket.socket) -> int:
    """Serve until told to stop, or left alone; return the exit status."""
    stop = stop_event()
    taken = await take_settings(control)
    if taken is None:
        return 0
    channel, settings = taken
    supervisor = SupervisorClient(channel, settings.retry_after_seconds)
    exposition = SharedExposition(supervisor.scrape, supervisor.windows)
    link = EngineLink() if settings.engine_processes else None
    config = session_config(settings) if link is None else SessionConfig()
    with (
        assemble(settings, config, ApiKeys.of(settings), exposition, tried=True, link=link) as core,
        Reporter.open(channel, core.metrics, exposition) as reporter,
    ):
        spare_what_is_loaded()
        app = core.app
        listener = Listener(app, settings, public, gate=app.endpoint, connections=app.connections, shared=True)
        worker = Worker(core, listener, channel, reporter, supervisor, stop, link)
        async with live_values(core.live), asyncio.TaskGroup() as group:
            chores = [
                group.create_task(worker.obey()),
                group.create_task(reporter.beat()),
                group.create_task(stop_on_hang(core.watch, stop)),
            ]
            await stop.wait()
            core.registry.drain()
            await worker.drain()
            await reporter.report()
            for chore in chores:
                chore.cancel()
        if link is not None:
            await link.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await channel.flush()
    return HUNG_STATUS if core.hung else 0


def main() -> None:
    """Run a worker until it ends."""
    control, public = (socket.socket(fileno=int(argument)) for argument in sys.argv[1:])
    run_child(work(control, public))


if __name__ == "__main__":
    main()
