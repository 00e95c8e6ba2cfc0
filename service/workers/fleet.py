"""Change all workers as one: a version is live in all or none.

A switch has two phases. Every worker loads, checks and warms the bundle aside; only when all have done so, all are told
to let it serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Collection, Sequence

from service.bundles.folder import Catalogue
from service.bundles.model import BundleError
from service.bundles.reload import OnReload
from service.contract.problems import BUNDLE_REFUSED, CONFLICT, NOT_READY, Problem, unavailable
from service.settings import Settings
from service.status import Models, ModelStatus
from service.telemetry.merging import Version
from service.workers import messages
from service.workers.handle import ANSWER_SECONDS, WorkerGone, WorkerLate, WorkerProcess

_log = logging.getLogger(__name__)


class Fleet:
    """Hold the workers that take requests. Used from the event loop only.

    Every order has a time limit, so no worker holds the others up for ever.
    """

    def __init__(self, settings: Settings, on_reload: OnReload = lambda _: None) -> None:
        self._catalogue = Catalogue(settings.bundles)
        self._keep_versions = settings.keep_versions
        self._retry_after = settings.retry_after_seconds
        self._load_seconds = settings.load_timeout_seconds + ANSWER_SECONDS
        self._on_reload = on_reload
        self._workers: list[WorkerProcess] = []
        self._live: dict[tuple[str, str], dict[str, str]] = {}
        self._failures: dict[str, str] = {}
        self._switches = itertools.count()
        self._lock = asyncio.Lock()
        self._manned = asyncio.Event()
        self._loaded = asyncio.Event()

    @property
    def manned(self) -> bool:
        """Tell whether any worker takes requests."""
        return bool(self._workers)

    @property
    def size(self) -> int:
        """Return how many workers take requests."""
        return len(self._workers)

    @property
    def live(self) -> Collection[Version]:
        """Return name and version of the live models."""
        return self._live.keys()

    async def add(self, worker: WorkerProcess) -> None:
        """Let a worker of the start listen at once, though it is not ready."""
        worker.tell(messages.Listen())
        self._enlist(worker)

    async def join(self, worker: WorkerProcess) -> None:
        """Add a later worker, once it has loaded the live versions.

        Raises `WorkerGone`; `BundleError` if a live version is no longer on disk; `RuntimeError` if the worker fails
        or is late.
        """
        await worker.started()
        async with self._lock:
            for (name, version), files in self._live.items():
                number = next(self._switches)
                order = messages.Prepare(number, name, version)
                if (await worker.ask(order, messages.Prepared, self._load_seconds)).files != files:
                    raise BundleError(f"{name}/{version}: its files have changed since it went live")
                await worker.ask(messages.Commit(number), messages.Described)
            for name, reason in self._failures.items():
                await worker.ask(messages.Fail(name, reason), messages.Done)
            if self._loaded.is_set():
                await worker.ask(messages.Loaded(), messages.Done)
            await worker.ask(messages.Listen(), messages.Done)
            self._enlist(worker)

    def remove(self, worker: WorkerProcess) -> None:
        """Remove a worker that has ended."""
        if worker in self._workers:
            self._workers.remove(worker)
        if not self._workers:
            self._manned.clear()

    async def load_all(self) -> None:
        """Load the newest versions of every name into all workers; log failures."""
        waiting = self._catalogue.newest(self._keep_versions)
        while waiting:
            await self._manned.wait()
            async with self._lock:
                waiting = await self._load(waiting)
        async with self._lock:
            self._loaded.set()
            for worker in self._workers:
                worker.tell(messages.Loaded())

    async def _load(self, bundles: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Load these; if a worker ends meanwhile, return the rest for later."""
        for i, (name, version) in enumerate(bundles):
            try:
                await self._switch(name, version)
            except WorkerGone:
                return list(bundles[i:])
            except (BundleError, RuntimeError) as error:
                _log.error("bundle %s was not loaded: %s", name, error)
                self._failures[name] = str(error)
                for worker in self._workers:
                    worker.tell(messages.Fail(name, str(error)))
        return []

    async def models(self) -> Models:
        """Describe the live models. Raises `Problem` (503) when no worker answers."""
        for worker in tuple(self._workers):
            with contextlib.suppress(WorkerGone, WorkerLate):
                described = await worker.ask(messages.Status(), messages.Described)
                return Models.model_validate({"models": described.models})
        raise self._unmanned()

    async def reload(self, name: str, version: str | None) -> ModelStatus:
        """Load a version (newest if None) in all workers, then switch all.

        Raises `Problem`: 409 while bundles are being loaded already, 422 if any worker refuses the bundle, 503 if one
        ends, fails or is late, or none is there; then nothing has changed.
        """
        if self._lock.locked() or not self._loaded.is_set():
            raise Problem(CONFLICT, "bundles are being loaded already; try again when that has ended")
        async with self._lock:
            if not self._workers:
                raise self._unmanned()
            try:
                status = await self._switch(name, self._catalogue.folder(name, version).name)
            except (BundleError, WorkerGone, RuntimeError) as error:
                self._refuse(name, error)
                if isinstance(error, BundleError):
                    raise Problem(BUNDLE_REFUSED, str(error)) from None
                raise unavailable(NOT_READY, f"{error}; nothing has changed", self._retry_after) from None
            if status is None:
                raise self._unmanned()
            self._on_reload("ok")
            return status

    async def reload_all(self) -> None:
        """Switch every name to its newest version, as `Loader.reload_all` does."""
        await self._loaded.wait()
        async with self._lock:
            for name, version in self._catalogue.newest(1):
                try:
                    if not self._is_current(name, version):
                        await self._switch(name, version)
                        self._on_reload("ok")
                except (BundleError, WorkerGone, RuntimeError) as error:
                    self._refuse(name, error)

    async def _switch(self, name: str, version: str) -> ModelStatus | None:
        """Do both phases; return None if all workers ended in the second.

        Raises `BundleError`, `WorkerGone` or `RuntimeError` in the first, and then all is as before.
        """
        number = next(self._switches)
        workers = tuple(self._workers)
        try:
            files = await self._prepare(workers, messages.Prepare(number, name, version))
        except BaseException:
            for worker in workers:
                worker.tell(messages.Abort(number))
            raise
        # From here on there is no way back: a worker that does not switch is replaced by one that starts with this.
        self._publish(name, version, files)
        statuses = await asyncio.gather(*(self._commit(worker, number) for worker in workers))
        _log.info("all workers serve model %s version %s", name, version)
        return next((status for status in statuses if status is not None), None)

    async def _prepare(self, workers: Sequence[WorkerProcess], order: messages.Prepare) -> dict[str, str]:
        """Return the files that all workers have loaded, once all have answered."""
        asked = (worker.ask(order, messages.Prepared, self._load_seconds) for worker in workers)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        problems = [answer for answer in answers if isinstance(answer, BaseException)]
        # Report a refusal rather than a worker that has gone: it says more.
        for problem in sorted(problems, key=lambda p: isinstance(p, WorkerGone)):
            raise problem
        loaded = [answer.files for answer in answers if isinstance(answer, messages.Prepared)]
        if not loaded:
            raise WorkerGone("no worker is running")
        if any(files != loaded[0] for files in loaded):
            raise BundleError(f"{order.name}/{order.version}: its files have changed while it was loaded")
        return loaded[0]

    async def _commit(self, worker: WorkerProcess, number: int) -> ModelStatus | None:
        """Return the model as the worker serves it; end a worker that hangs."""
        try:
            (model,) = (await worker.ask(messages.Commit(number), messages.Described)).models
            return ModelStatus.model_validate(model)
        except (WorkerGone, RuntimeError) as error:
            self.remove(worker)
            if not isinstance(error, WorkerGone):
                worker.give_up(f"it did not switch: {error}")
            return None

    def _publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """Note what is live; each worker's registry keeps and drops the same versions."""
        self._live.pop((name, version), None)
        self._live[name, version] = files
        self._failures.pop(name, None)
        for old in [key for key in self._live if key[0] == name][: -self._keep_versions]:
            del self._live[old]

    def _is_current(self, name: str, version: str) -> bool:
        current = [key for key in self._live if key[0] == name][-1:]
        files = self._live.get((name, version))
        return current == [(name, version)] and self._catalogue.manifest(name, version).files == files

    def _refuse(self, name: str, error: Exception) -> None:
        _log.error("reload of bundle %s was refused: %s", name, error)
        self._on_reload("refused")

    def _enlist(self, worker: WorkerProcess) -> None:
        self._workers.append(worker)
        self._manned.set()

    def _unmanned(self) -> Problem:
        return unavailable(NOT_READY, "no worker is running", self._retry_after)
