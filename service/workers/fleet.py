"""Change all workers as one: a version is live in all or none.

The bundle is first tried in a process of its own. A switch then has two phases. Every worker loads, checks and warms
the bundle aside; only when all have done so, all are told to let it serve. Scenes and catalogues are switched alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Collection, Sequence
from typing import Final

from service.bundles.catalogues import CatalogueOptions
from service.bundles.model import BundleError
from service.bundles.refusals import OnRefusal
from service.bundles.renewing import OnRenewal
from service.bundles.switching import Current, OnReload, Switcher
from service.bundles.trial import Trial
from service.catalogues.load import CheckedCatalogue
from service.contract.problems import BUNDLE_REFUSED, CONFLICT, NOT_READY, Problem, unavailable
from service.inference.onnx.session import SessionConfig
from service.scenes.reading import SceneMap
from service.settings import Settings
from service.status import Models, ModelStatus
from service.telemetry.versions import SCENE, Version
from service.workers import messages
from service.workers.engines import Engines
from service.workers.fleet_part import catalogues_part, scenes_part
from service.workers.handle import ANSWER_SECONDS, EngineFailed, ProcessGone, ProcessLate, WorkerProcess
from service.workers.model_part import ModelPart, StagedModel

_log = logging.getLogger(__name__)
_PAUSE_SECONDS: Final = 1.0
"""Time between tries to load the catalogues or the scenes of the start."""

_TRIES: Final = 5
"""Most tries to load the catalogues of the start before the bundles, which can serve without."""


class Fleet(Switcher[StagedModel]):
    """Hold the workers that take requests. Used from the event loop only.

    Every order has a time limit, so no worker holds the others up for ever. `settings` are those for the next worker to
    start: its default model is decided once.
    """

    def __init__(
        self,
        settings: Settings,
        config: SessionConfig,
        on_reload: OnReload,
        on_refusal: OnRefusal,
        on_scenes: OnRenewal = lambda _outcome, _count: None,
        on_catalogues: OnRenewal = lambda _outcome, _count: None,
        engines: Engines | None = None,
    ) -> None:
        catalogues = CatalogueOptions.of(settings)
        super().__init__(settings.bundles, on_reload, on_refusal, on_scenes, catalogues, on_catalogues)
        # Workers open what has been checked here, and the folder of catalogues may be gone when one starts later.
        self.settings = settings.model_copy(update={"catalogue": None, "catalogue_copy": False})
        self._trial = Trial(config, settings.load_timeout_seconds)
        self._keep_versions = settings.keep_versions
        self._retry_after = settings.retry_after_seconds
        self._load_seconds = settings.load_timeout_seconds + ANSWER_SECONDS
        self._workers: list[WorkerProcess] = []
        self._live: dict[tuple[str, str], dict[str, str]] = {}
        self._failures: dict[str, str] = {}
        self._switches = itertools.count()
        self._models = ModelPart(self._switches, self._give_up, self._load_seconds, engines)
        self._scenes = scenes_part(self._switches, self._give_up)
        self._catalogues = catalogues_part(self._switches, self._give_up, self._load_seconds)
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
        """Return name and version of the live models, and the live scenes."""
        return [*self._live, *((SCENE, name) for name in self._scenes.live or ())]

    async def add(self, worker: WorkerProcess) -> None:
        """Let a worker of the start listen at once, though it is not ready."""
        worker.tell(messages.Listen())
        self._enlist(worker)

    async def join(self, worker: WorkerProcess) -> None:
        """Add a later worker, once it has loaded the live versions.

        Raises `ProcessGone`; `BundleError` or `CatalogueError` if a live version is no longer on disk; `SceneError` if
        it refuses the live scenes; `RuntimeError` if the worker fails or is late, or its engine process is missing.
        """
        await worker.started()
        await self._models.ready_for(worker)
        async with self._lock:
            await self._catalogues.join(worker)
            await self._models.join(worker, self._live)
            for name, reason in self._failures.items():
                await worker.ask(messages.Fail(name, reason), messages.Done)
            await self._scenes.join(worker)
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
        """Load the catalogues, the newest sound versions, then the scenes, into all workers; log failures."""
        for _ in range(_TRIES):  # After that, `watch` goes on trying.
            await self._manned.wait()
            async with self._lock:
                if await self._load_catalogues():
                    break
            await asyncio.sleep(_PAUSE_SECONDS)
        waiting = self._folder.bundles()
        while waiting:
            await self._manned.wait()
            async with self._lock:
                for name, versions in list(waiting.items()):
                    try:
                        await self._load_first(name, versions, self._keep_versions)
                    except ProcessGone:  # The rest has to wait for a worker.
                        break
                    except (ProcessLate, EngineFailed) as error:
                        _log.error("bundle %s was not loaded: %s", name, error)
                        self._fail(name, str(error))
                        if isinstance(error, EngineFailed):  # It says nothing about the bundle, so try again.
                            continue
                    del waiting[name]
            if waiting:
                await asyncio.sleep(_PAUSE_SECONDS)
        while not self._loaded.is_set():
            await self._manned.wait()
            async with self._lock:
                if await self._load_scenes():
                    self._loaded.set()
                    for worker in self._workers:
                        worker.tell(messages.Loaded())
            if not self._loaded.is_set():  # A worker that fails at once would be asked again without end.
                await asyncio.sleep(_PAUSE_SECONDS)

    def _fail(self, name: str, reason: str | None) -> None:
        if reason is None:
            self._failures.pop(name, None)
        else:
            self._failures[name] = reason
        for worker in self._workers:
            worker.tell(messages.Fail(name, reason))

    async def models(self) -> Models:
        """Describe the live models. Raises `Problem` (503) when no worker answers."""
        for worker in tuple(self._workers):
            with contextlib.suppress(ProcessGone, ProcessLate):
                described = await worker.ask(messages.Status(), messages.Described)
                return Models.model_validate({"models": described.models})
        raise self._unmanned()

    async def reload(self, name: str, version: str | None) -> ModelStatus:
        """Load a version (newest if None) in all workers, then switch all.

        Raises `Problem`: 409 while bundles are being loaded already, 422 if any worker refuses the bundle, 503 if one
        ends, fails or is late, or none is there; then nothing has changed.
        """
        self._check_idle()
        async with self._lock:
            if not self._workers:
                raise self._unmanned()
            # A bundle that is not there is refused at once, so that asking for it never keeps others from reloading.
            try:
                wanted = self._folder.folder(name, version).name
            except BundleError as error:
                self._refuse(name, error)
                raise Problem(BUNDLE_REFUSED, str(error)) from None
            await self._renew_catalogues()
            scenes = await self._scene_file.renew()
            try:
                status = await self._switch(name, wanted)
            except (BundleError, ProcessGone, RuntimeError) as error:
                self._refuse(name, error)
                await self._renew_scenes(scenes)
                if isinstance(error, BundleError):
                    raise Problem(BUNDLE_REFUSED, str(error)) from None
                raise unavailable(NOT_READY, f"{error}; nothing has changed", self._retry_after) from None
            if status is None:
                raise self._unmanned()
            self._refusals.leave(name)
            self._on_reload("ok")
            await self._renew_scenes(scenes)
            return status

    async def reload_all(self) -> None:
        """Do the same once all bundles of the start are loaded or have failed."""
        await self._loaded.wait()
        await super().reload_all()

    async def _switch_scenes(self, scenes: SceneMap) -> None:
        await self._scenes.switch(tuple(self._workers), scenes)

    def _fail_scenes(self, reason: str) -> None:
        self._scenes.fail(self._workers, reason)

    async def _switch_catalogues(self, wanted: Sequence[CheckedCatalogue]) -> None:
        await self._catalogues.switch(tuple(self._workers), wanted)

    def _fail_catalogues(self, reason: str | None) -> None:
        self._catalogues.fail(self._workers, reason)

    def _serves(self) -> bool:
        return bool(self._live)

    def _check_idle(self) -> None:
        if not self._loaded.is_set():
            raise Problem(CONFLICT, "bundles are being loaded already; try again when that has ended")
        super()._check_idle()

    async def _switch(self, name: str, version: str) -> ModelStatus | None:
        """Do both phases; return None if all workers ended in the second.

        Raises `BundleError`, `ProcessGone` or `RuntimeError` in the first, and then all is as before.
        """
        return await self._serve(await self._stage(name, version))

    async def _stage(self, name: str, version: str) -> StagedModel:
        """Do the trial and the first phase. Raises like `_switch`."""
        tried = await self._trial.run(self._folder.folder(name, version), low_priority=bool(self._live))
        return await self._models.stage(tuple(self._workers), self._beside(name, version), name, version, tried)

    def _beside(self, name: str, version: str) -> dict[tuple[str, str], dict[str, str]]:
        """Return what will be live beside this version.

        It may replace the oldest of its name.
        """
        others = {key: files for key, files in self._live.items() if key != (name, version)}
        own = [key for key in others if key[0] == name]
        for key in own[: len(own) + 1 - self._keep_versions]:
            del others[key]
        return others

    def _drop(self, staged: StagedModel) -> None:
        self._models.drop(staged)

    async def _serve(self, staged: StagedModel) -> ModelStatus | None:
        """Do the second phase; return None if all workers ended in it."""
        self._publish(staged.name, staged.version, staged.files)
        return await self._models.serve(staged)

    def _give_up(self, worker: WorkerProcess, error: Exception) -> None:
        """Drop a worker that did not switch, and end it if it hangs."""
        self.remove(worker)
        if not isinstance(error, ProcessGone):
            worker.give_up(f"it did not switch: {error}")

    def _publish(self, name: str, version: str, files: dict[str, str]) -> None:
        """Note what is live; each worker's registry keeps and drops the same versions."""
        self._live.pop((name, version), None)
        self._live[name, version] = files
        self._failures.pop(name, None)
        self._note_live(name, version)
        if self.settings.default_model is None:  # Each worker's registry takes the first, too.
            self.settings = self.settings.model_copy(update={"default_model": name})
        for old in [key for key in self._live if key[0] == name][: -self._keep_versions]:
            del self._live[old]

    def _current(self, name: str) -> Current | None:
        version = next((version for live, version in reversed(self._live) if live == name), None)
        return None if version is None else Current(version, self._live[name, version])

    def _refuse(self, name: str, error: Exception) -> None:
        _log.error("reload of bundle %s was refused: %s", name, error)
        self._on_reload("refused")

    def _enlist(self, worker: WorkerProcess) -> None:
        self._workers.append(worker)
        self._manned.set()

    def _unmanned(self) -> Problem:
        return unavailable(NOT_READY, "no worker is running", self._retry_after)
