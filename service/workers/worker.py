"""Answer requests on a shared socket, as one of several processes.

It carries out the orders of the supervisor, and ends when that has gone. Started by `service/workers/handle.py` only;
the arguments are the descriptors of the channel and of the listening socket, and the worker's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from service.bundles.model import BundleError, Model
from service.inference.onnx.choose import session_config
from service.server import Core, assemble, settle
from service.settings import Settings
from service.status import describe_model, describe_models
from service.telemetry.exposition import FOLDER_VARIABLE, SharedExposition
from service.telemetry.logs import configure_logging
from service.transport.listener import Listener
from service.transport.sockets import loop_factory, stop_event
from service.workers import messages

_log = logging.getLogger(__name__)
_DECODER: Final[msgspec.json.Decoder[messages.NumberedCommand]] = msgspec.json.Decoder(messages.NumberedCommand)


class Worker:
    """Carry out orders, on the event loop that also answers requests."""

    def __init__(
        self, core: Core, listener: Listener, channel: messages.Channel[messages.NumberedCommand], stop: asyncio.Event
    ) -> None:
        self._core = core
        self._listener = listener
        self._channel = channel
        self._stop = stop
        self._prepared: dict[int, Model] = {}
        self._listening: asyncio.Task[None] | None = None
        self.orphaned = False

    async def obey(self) -> None:
        """Carry out orders until the supervisor has gone; then stop."""
        async with asyncio.TaskGroup() as group:
            while (order := await self._channel.receive()) is not None:
                group.create_task(self._carry_out(order))
            self.orphaned = True
            self._stop.set()

    async def drain(self) -> None:
        """Take no more requests and answer those that have come."""
        if self._listening is not None:
            self._listener.should_exit = True
            await self._listening

    async def _carry_out(self, order: messages.NumberedCommand) -> None:
        try:
            reply = await self._answer(order)
        except BundleError as error:
            reply = messages.Refused(order.id, str(error))
        except Exception as error:
            _log.exception("an order of the supervisor failed")
            reply = messages.Refused(order.id, f"a worker failed: {error}", fault=True)
        self._channel.send(reply)

    async def _answer(self, order: messages.NumberedCommand) -> messages.Reply:
        registry, loader = self._core.registry, self._core.loader
        match order.command:
            case messages.Prepare(number, name, version):
                model = await loader.prepare(name, version)
                self._prepared[number] = model
                return messages.Prepared(order.id, dict(model.manifest.files))
            case messages.Commit(number):
                model = self._prepared.pop(number)
                loader.publish(model)
                return messages.Described(order.id, [describe_model(model, registry).model_dump(mode="json")])
            case messages.Status():
                return messages.Described(
                    order.id, [m.model_dump(mode="json") for m in describe_models(registry).models]
                )
            case messages.Abort(number):
                self._prepared.pop(number, None)
            case messages.Fail(name, reason):
                registry.fail(name, reason)
            case messages.Count(result):
                self._core.metrics.reloaded(result)
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

    async def _listen(self) -> None:
        if self._stop.is_set():
            return
        self._listening = asyncio.create_task(self._listener.listen())
        self._listening.add_done_callback(lambda _: self._stop.set())
        while not self._listener.started and not self._listening.done():
            await asyncio.sleep(0.001)


async def work(control: socket.socket, public: socket.socket, slot: int) -> None:
    """Serve until told to stop, or left alone."""
    stop = stop_event()
    channel = await messages.Channel.open(control, _DECODER)
    first = await channel.receive()
    if first is None:
        return
    if not isinstance(first.command, messages.Start):
        raise RuntimeError("the first order must be to start")
    settings = Settings(**first.command.settings)
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    folder = Path(os.environ[FOLDER_VARIABLE])
    with assemble(settings, session_config(settings), SharedExposition(folder, slot)) as core:
        app = core.app
        listener = Listener(app, settings, public, gate=app.endpoint, connections=app.connections, shared=True)
        worker = Worker(core, listener, channel, stop)
        async with asyncio.TaskGroup() as group:
            chores = [group.create_task(worker.obey()), group.create_task(core.metrics.keep_fresh())]
            await stop.wait()
            core.registry.drain()
            await worker.drain()
            for chore in chores:
                chore.cancel()
    if worker.orphaned:  # The supervisor can remove it no more, so the last worker does.
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run a worker until it ends."""
    control, public, slot = map(int, sys.argv[1:])
    # Only the supervisor reloads: one worker alone would differ from the others.
    with contextlib.suppress(AttributeError):  # Windows has no such signal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work(socket.socket(fileno=control), socket.socket(fileno=public), slot))


if __name__ == "__main__":
    main()
