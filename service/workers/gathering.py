"""Gather the metrics of all workers in the supervisor, and show them merged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from starlette.responses import Response

from service.telemetry.bundles import REFUSED_MODES, BundleMetrics
from service.telemetry.exposition import ENGINE_MODES, WORKER_MODES, set_up_client_library, show_engines, show_workers
from service.telemetry.keys import AccessMetrics
from service.telemetry.merging import Totals
from service.telemetry.rolling import WindowCounts
from service.telemetry.scrape import Scraper
from service.telemetry.snapshots import MergeMode, SnapshotReader
from service.telemetry.versions import Version
from service.workers import messages
from service.workers.handle import End, ProcessGone, ProcessLate, WorkerProcess

_log = logging.getLogger(__name__)
_MEASURE_SECONDS: Final = 1.0

_ENDS: Final[tuple[End, ...]] = ("hung", "killed", "failed", "stopped")


class SupervisorMetrics:
    """Count what happens to the workers, and the reloads, which are one for all workers."""

    def __init__(self, running: Callable[[], int], wanted: int) -> None:
        set_up_client_library()
        self.registry = CollectorRegistry()
        text = (
            "Workers that ended while the service went on: hung (killed for that), killed by another, failed (any "
            "other status but 0), stopped (0)."
        )
        ended = Counter("rerank_workers_ended_total", text, ("reason",), registry=self.registry)
        self._ended = {reason: ended.labels(reason) for reason in _ENDS}
        self._engines_ended: dict[End, Counter] = {}
        bundles = BundleMetrics(self.registry)
        self.reloaded, self.bundle_refused = bundles.reloaded, bundles.bundle_refused
        self.scenes_renewed, self.catalogues_renewed = bundles.scenes_renewed, bundles.catalogues_renewed
        self.access = AccessMetrics(self.registry)
        show_workers(self.registry, running, wanted)
        self._modes: dict[str, MergeMode] = {**WORKER_MODES, **ENGINE_MODES, **REFUSED_MODES}
        self.snapshots = SnapshotReader(self.registry, self._modes)

    def show_engines(self, running: Callable[[], int], wanted: Callable[[], int]) -> None:
        """Show the engine processes, where there are any."""
        show_engines(self.registry, running, wanted)
        text = "Engine processes that ended while the service went on, for the same reasons as workers."
        ended = Counter("rerank_engines_ended_total", text, ("reason",), registry=self.registry)
        self._engines_ended = {reason: ended.labels(reason) for reason in _ENDS}
        self.snapshots = SnapshotReader(self.registry, self._modes)

    def engine_ended(self, reason: End) -> None:
        """Count one engine process that ended, though nobody had told it to."""
        self._engines_ended[reason].inc()

    def ended(self, reason: End) -> None:
        """Count one worker that ended, though nobody had told it to."""
        self._ended[reason].inc()


class Gatherer:
    """Keep the last snapshot of each worker, and answer for all.

    Used from the event loop only. `live` returns the versions, scenes and API keys that are live.
    """

    def __init__(self, own: SupervisorMetrics, live: Callable[[], Collection[Version]]) -> None:
        self._own = own
        self._live = live
        self._totals = Totals()
        self._workers: set[WorkerProcess] = set()
        self._scraper = Scraper(self.read)
        self._answers: set[asyncio.Task[None]] = set()

    def enter(self, worker: WorkerProcess) -> None:
        """Ask this worker from now on."""
        self._workers.add(worker)

    def leave(self, worker: WorkerProcess) -> None:
        """Keep the counts of a worker that has ended."""
        self._workers.discard(worker)
        self._totals.end(worker)

    def hear(self, worker: WorkerProcess, notice: messages.Notice) -> None:
        """Take in a snapshot, or answer a question. Raises `ValueError` for a wrong snapshot."""
        match notice:
            case messages.Snapshot(layout, values):
                self._totals.update(worker, layout, values)
            case messages.Scrape():
                self._begin(self._answer(worker, notice))
            case messages.AskWindows(number):
                self._begin(self._answer_windows(worker, number))

    async def respond(self, accept: str) -> Response:
        """Answer a scrape with what all have counted by now."""
        return await self._scraper.answer(accept)

    async def read(self) -> CollectorRegistry:
        """Return what all have counted by now, to be rendered in any thread."""
        await asyncio.gather(*(self._measure(worker) for worker in self._workers if worker.answers))
        self._totals.update(self, *self._own.snapshots.read())
        return self._totals.view(self._live())

    async def _measure(self, worker: WorkerProcess) -> None:
        """Ask for a snapshot; if none comes in time, the last one is used."""
        try:
            await worker.ask(messages.Measure(), messages.Done, _MEASURE_SECONDS)
        except (ProcessGone, ProcessLate) as error:
            _log.debug("its last metrics are shown: %s", error)

    async def _answer_windows(self, worker: WorkerProcess, number: int) -> None:
        """Add up the last minutes of all workers that answer in time."""
        asked = [w for w in self._workers if w.answers]
        counted = [windows for windows in await asyncio.gather(*map(_count, asked)) if windows is not None]
        merged = tuple(WindowCounts.merge(parts) for parts in zip(*counted, strict=True))
        worker.tell(messages.Windows(number, merged, len(counted), len(counted) == len(asked)))

    def _begin(self, answer: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(answer)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, worker: WorkerProcess, scrape: messages.Scrape) -> None:
        try:
            response = await self.respond(scrape.accept)
        except Exception:
            _log.exception("the metrics of the workers could not be merged")
            worker.tell(messages.Scraped(scrape.number, "", None))
        else:
            text = bytes(response.body).decode()
            worker.tell(messages.Scraped(scrape.number, response.headers["content-type"], text))


async def _count(worker: WorkerProcess) -> tuple[WindowCounts, ...] | None:
    """Ask for the last minutes; None if the answer does not come in time."""
    try:
        return (await worker.ask(messages.CountWindows(), messages.Counted, _MEASURE_SECONDS)).windows
    except (ProcessGone, ProcessLate, RuntimeError) as error:
        _log.debug("its last minutes are left out: %s", error)
        return None
