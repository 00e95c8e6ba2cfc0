"""Keep a running worker in every place, and stop all in order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from models.contract.catalogue.manifest import CatalogueError
from service.access.key import ApiKey
from service.bundles.model import BundleError
from service.scenes.scene import SceneError
from service.settings import Settings
from service.transport.sockets import stop_connecting
from service.workers.fleet import Fleet
from service.workers.gathering import Gatherer, SupervisorMetrics
from service.workers.handle import ProcessGone, WorkerProcess
from service.workers.messages import Done, Drain, TakeKeys
from service.workers.restarts import REFUSED_SECONDS, Restarts, tell_of_fault

_log = logging.getLogger(__name__)


class Crew:
    """Keep one worker in each place; give up if too many end in a minute."""

    def __init__(
        self,
        settings: Settings,
        public: socket.socket,
        fleet: Fleet,
        metrics: SupervisorMetrics,
        gatherer: Gatherer,
        *,
        keys: Sequence[ApiKey] = (),
        give_up: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._keys = tuple(keys)
        self._public = public
        self._fleet = fleet
        self._metrics = metrics
        self._gatherer = gatherer
        self._give_up = give_up
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._restarts = Restarts(settings.workers)
        self._stopping = asyncio.Event()
        self.failed = False

    async def start(self) -> None:
        """Start the first worker in every place."""
        for slot in range(self._settings.workers):
            await self._fleet.add(await self._start(slot))
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in self._workers]
        for keeper in self._keepers:
            tell_of_fault(keeper, "a worker", self.fail)

    async def stop(self) -> None:
        """Tell all to finish their requests; `ended` waits for that."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.tell(Drain())
        await asyncio.sleep(self._settings.shutdown_delay_seconds)
        stop_connecting(self._public)
        # The workers still have it open, and take in the connections that wait there; the last one closes it for good.
        self._public.close()
        for worker in self._workers.values():
            worker.terminate()

    async def take_keys(self, keys: Sequence[ApiKey]) -> None:
        """Let these API keys into all workers, and no other; end one that hangs.

        Workers that start later get them, too.
        """
        self._keys = tuple(keys)
        await asyncio.gather(*(self._give_keys(worker) for worker in self._workers.values()))

    async def _give_keys(self, worker: WorkerProcess) -> None:
        order = TakeKeys(list(self._keys))
        if not worker.answers:  # It will have carried that out before it listens.
            worker.tell(order)
            return
        try:
            await worker.ask(order, Done)
        except ProcessGone:
            return
        except RuntimeError as error:
            worker.give_up(f"it did not take the new keys: {error}")

    async def ended(self) -> None:
        """Wait for the end of all; after the drain limit they are killed."""
        await asyncio.gather(*self._keepers, return_exceptions=True)
        # A start that failed has no keepers, and one that failed has left its worker behind.
        await asyncio.gather(*(worker.wait() for worker in self._workers.values()))

    async def _start(self, slot: int) -> WorkerProcess:
        worker = await WorkerProcess.start(slot, self._public, self._fleet.settings, self._gatherer.hear)
        self._workers[slot] = worker
        worker.tell(TakeKeys(list(self._keys)))
        self._gatherer.enter(worker)
        if self._stopping.is_set():
            worker.terminate()
        return worker

    async def _keep(self, slot: int) -> None:
        joined = True
        while True:
            if slot in self._workers:
                await self._see_off(self._workers[slot])
            if self._stopping.is_set():
                return
            delay = self._restarts.next_delay() if joined else REFUSED_SECONDS
            if delay is None:
                self.fail(f"workers have ended more than {self._restarts.most} times in a minute")
                return
            if await self._stops_within(delay):
                return
            joined = await self._replace(slot)

    async def _see_off(self, worker: WorkerProcess) -> None:
        """Wait for the end of a worker, and take it from the lists."""
        status = await worker.wait()
        del self._workers[worker.slot]
        self._fleet.remove(worker)
        self._gatherer.leave(worker)
        if not self._stopping.is_set():
            _log.error("%s ended with status %d", worker, status)
            self._metrics.ended(worker.why_ended(status))

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
            await worker.unless_gone(self._fleet.join(worker))
        except ProcessGone:
            return True
        except (BundleError, SceneError, CatalogueError, RuntimeError) as error:
            _log.error("%s cannot serve the live versions: %s", worker, error)
            worker.terminate()
            if not self._fleet.manned:
                self.fail("no worker is left, and none can be replaced")
            return False
        _log.info("%s serves", worker)
        return True

    def fail(self, why: str) -> None:
        """Stop the service for this reason, with an error."""
        _log.critical("%s: the service stops", why)
        self.failed = True
        self._give_up()

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return self._stopping.is_set()
