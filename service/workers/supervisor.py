"""Start, replace and stop the workers of `listwright serve --workers N`, N > 1.

The supervisor holds the two sockets, serves the admin app, and hands reloads out (see `fleet.py`). It answers no
requests and loads no bundle. The workers hang on channels to it: they end when it does, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from service.admin import admin_app
from service.bundles.model import BundleError
from service.inference.onnx.choose import session_config
from service.settings import Settings, SettingsError
from service.telemetry.exposition import forget_gauges, merged
from service.transport.listener import Listener
from service.transport.sockets import bind_sockets, loop_factory, on_hangup, stop_connecting, stop_event
from service.workers.fleet import Fleet
from service.workers.handle import WorkerGone, WorkerProcess
from service.workers.messages import Drain

_log = logging.getLogger(__name__)
_MARGIN_SECONDS: Final = 3.0
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0
_REFUSED_SECONDS: Final = 10.0
_RESTARTS_PER_MINUTE: Final = 10


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 if workers kept dying.

    Raises `SettingsError` for settings that cannot work at all.
    """
    settings = settings.model_copy(update={"provider": _provider(settings)})
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(supervise(settings))


def _provider(settings: Settings) -> str:
    """Choose the provider of all workers. Raises `SettingsError` if it cannot be shared."""
    name = "LISTWRIGHT_WORKERS (--workers)"
    if sys.platform == "win32":
        raise SettingsError(f"{name}: no more than 1 on Windows")
    provider = settings.provider if settings.provider == "cuda" else session_config(settings).provider
    if provider == "cuda":
        raise SettingsError(f"{name}: must be 1 on CUDA, where one process serves a GPU; more need --provider cpu")
    return provider


async def supervise(settings: Settings) -> int:
    """Start, keep, stop. Returns the exit status."""
    stop = stop_event()
    sockets = bind_sockets(settings)
    try:
        made = tempfile.TemporaryDirectory(prefix="listwright-metrics-", ignore_cleanup_errors=True)
    except OSError as error:
        raise SettingsError(f"LISTWRIGHT_WORKERS: more than one share their metrics in a folder: {error}") from None
    with made as name:
        folder = Path(name)
        fleet = Fleet(settings, session_config(settings))
        crew = Crew(settings, sockets.public, folder, fleet, give_up=stop.set)
        app = admin_app(settings, fleet.models, fleet.reload, lambda: merged(folder))
        admin = Listener(app, settings, sockets.admin)
        _log.info("inference runs on %s, in %d workers", settings.provider, settings.workers)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(admin.listen())
            try:
                await crew.start()
                sockets.announce()
                loads = [group.create_task(fleet.load_all()), group.create_task(fleet.watch())]
                with on_hangup(lambda: loads.append(group.create_task(fleet.reload_all()))):
                    await stop.wait()
                for load in loads:
                    load.cancel()
            finally:
                _log.info("stopping: workers drain")
                await crew.stop()
            admin.should_exit = True
            await serving
    _log.info("stopped")
    return 1 if crew.failed else 0


class Crew:
    """Keep one worker in each place; give up if too many end in a minute."""

    def __init__(
        self, settings: Settings, public: socket.socket, folder: Path, fleet: Fleet, *, give_up: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._public = public
        self._folder = folder
        self._fleet = fleet
        self._give_up = give_up
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._restarts: deque[float] = deque()
        self._stopping = asyncio.Event()
        self.failed = False

    async def start(self) -> None:
        """Start the first worker in every place."""
        for slot in range(self._settings.workers):
            await self._fleet.add(await self._start(slot))
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in self._workers]

    async def stop(self) -> None:
        """Let all finish their requests; kill those that take longer than the drain allows."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.tell(Drain())
        await asyncio.sleep(self._settings.shutdown_delay_seconds)
        stop_connecting(self._public)
        # The workers still have it open, and take in the connections that wait there; the last one closes it for good.
        self._public.close()
        for worker in self._workers.values():
            worker.terminate()
        keepers = self._keepers or [asyncio.create_task(self._keep(slot)) for slot in self._workers]
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=self._settings.drain_seconds + _MARGIN_SECONDS)
            for slot in self._workers if late else ():
                self._workers[slot].kill()
            await asyncio.gather(*keepers)

    async def _start(self, slot: int) -> WorkerProcess:
        worker = await WorkerProcess.start(slot, self._public, self._folder, self._fleet.settings)
        self._workers[slot] = worker
        if self._stopping.is_set():
            worker.terminate()
        return worker

    async def _keep(self, slot: int) -> None:
        joined = True
        while True:
            worker = self._workers[slot]
            status = await worker.wait()
            self._fleet.remove(worker)
            forget_gauges(self._folder, slot)
            if self._stopping.is_set():
                return
            _log.error("worker %d (process %d) ended with status %d", slot, worker.pid, status)
            delay = self._delay() if joined else _REFUSED_SECONDS
            if delay is None or await self._stops_within(delay):
                return
            joined = await self._replace(slot)

    async def _replace(self, slot: int) -> bool:
        """Start a replacement; False if it cannot serve the live versions."""
        try:
            worker = await self._start(slot)
        except OSError as error:
            _log.error("worker %d cannot be started: %s", slot, error)
            return True
        return await self._join(worker)

    async def _join(self, worker: WorkerProcess) -> bool:
        """Bring a replacement up; False if it cannot serve the live versions."""
        try:
            await self._fleet.join(worker)
        except WorkerGone:
            return True
        except (BundleError, RuntimeError) as error:
            _log.error("worker %d (process %d) cannot serve the live versions: %s", worker.slot, worker.pid, error)
            worker.terminate()
            if not self._fleet.manned:
                self._fail("no worker is left, and none can be replaced")
            return False
        _log.info("worker %d (process %d) serves", worker.slot, worker.pid)
        return True

    def _delay(self) -> float | None:
        """Return the seconds before the next start, growing; None after too many."""
        now = time.monotonic()
        while self._restarts and self._restarts[0] < now - 60:
            self._restarts.popleft()
        most = max(_RESTARTS_PER_MINUTE, 2 * self._settings.workers)
        if len(self._restarts) >= most:
            self._fail(f"workers have ended more than {most} times in a minute")
            return None
        self._restarts.append(now)
        return min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * float(2 ** (len(self._restarts) - 1)))

    def _fail(self, why: str) -> None:
        _log.critical("%s: the service stops", why)
        self.failed = True
        self._give_up()

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return self._stopping.is_set()
