"""Keep every name at its newest sound version, and catalogues and scenes at their files.

That holds for one process and for several workers. What is refused is passed over: the next older version is tried,
or what serves goes on. A refused version is tried again when its files change.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, NoReturn, TypeVar

from models.contract.catalogue.manifest import CATALOGUE_FOLDER
from service.bundles.catalogues import CatalogueFiles, CatalogueOptions
from service.bundles.folder import BundleFolder
from service.bundles.load import identity
from service.bundles.model import BundleError, Interrupted
from service.bundles.refusals import POLL_SECONDS, OnRefusal, Refusals
from service.bundles.renewing import OnRenewal, Renewal
from service.bundles.scene_file import SceneFile
from service.catalogues.load import CheckedCatalogue
from service.contract.problems import CONFLICT, Problem
from service.scenes.reading import SceneMap

_log = logging.getLogger(__name__)

Staged = TypeVar("Staged")
"""A version that is ready to serve."""


OnReload = Callable[[str], None]
"""Told ``ok`` or ``refused`` of every version that a reload has looked at."""


class Current(NamedTuple):
    """Version that serves requests without one, with its identity (see `load.identity`)."""

    version: str
    files: dict[str, str]


class Switcher(ABC, Generic[Staged]):
    """Choose the versions to serve.

    How they come to serve is the subclass's. `on_refusal` is told of versions that are refused though they would have
    served. Used from the event loop only.
    """

    def __init__(
        self,
        root: Path,
        on_reload: OnReload,
        on_refusal: OnRefusal,
        on_scenes: OnRenewal,
        catalogues: CatalogueOptions | None,
        on_catalogues: OnRenewal,
    ) -> None:
        self._on_reload = on_reload
        options = catalogues or CatalogueOptions(root / CATALOGUE_FOLDER)
        self.catalogue_files = CatalogueFiles(options, self._switch_catalogues, on_catalogues, self._serves)
        self._scene_file = SceneFile(root, self._switch_scenes, on_scenes)
        self._folder = BundleFolder(root)
        self._refusals = Refusals(root, on_refusal)
        self._lock = asyncio.Lock()
        self._failed: set[str] = set()

    @abstractmethod
    async def _stage(self, name: str, version: str) -> Staged:
        """Load and check a version aside. Raises `BundleError`, `RuntimeError` or `Interrupted`."""

    @abstractmethod
    async def _serve(self, staged: Staged) -> object:
        """Let a version serve, as the current one of its name."""

    @abstractmethod
    def _drop(self, staged: Staged) -> None:
        """Give up a version that was to serve."""

    @abstractmethod
    def _current(self, name: str) -> Current | None:
        """Return what serves requests that name no version, or None."""

    @abstractmethod
    def _fail(self, name: str, reason: str | None) -> None:
        """Note why a name has no live model; None if it needs none."""

    @abstractmethod
    async def _switch_scenes(self, scenes: SceneMap) -> None:
        """Check scenes beside the live models, and let them serve. Raises as `SwitchScenes` does."""

    @abstractmethod
    def _fail_scenes(self, reason: str) -> None:
        """Note why the scenes of the start do not serve."""

    @abstractmethod
    async def _switch_catalogues(self, wanted: Sequence[CheckedCatalogue]) -> None:
        """Let these catalogues serve, and no other. Raises as `SwitchCatalogues` does."""

    @abstractmethod
    def _fail_catalogues(self, reason: str | None) -> None:
        """Note why catalogues of the start do not serve; None if they do."""

    @abstractmethod
    def _serves(self) -> bool:
        """Tell whether requests are answered."""

    def _note_live(self, name: str, version: str) -> None:
        """Note that a version is live, however it came to be."""
        self._failed.discard(name)
        self._refusals.forget(name, version)

    async def _load_first(self, name: str, versions: Sequence[str], count: int) -> None:
        """Load a name at start, without which the service is not ready. Raises `Interrupted`."""
        self._failed.add(name)
        await self._load_newest(name, versions, count)

    async def reload_all(self) -> None:
        """Switch every name in the folder to its newest sound version, new names included.

        A version that is current already is not loaded again. A bundle that is refused is logged, and its
        predecessor goes on serving.
        """
        async with self._lock:
            await self._renew_catalogues()
            scenes = await self._scene_file.renew()
            bundles = await asyncio.to_thread(self._folder.bundles)
            for name, versions in bundles.items():
                await self._renew(name, candidates(versions, self._current_version(name)))
            await self._forgive_gone()
            await self._renew_scenes(scenes)

    async def reload_catalogues(self) -> Renewal:
        """Switch to the catalogues of the folder. Raises `Problem` (409) while bundles are being loaded."""
        self._check_idle()
        async with self._lock:
            await self._renew_catalogues()
            return self.catalogue_files.outcome

    async def _renew_catalogues(self, *, count: bool = True) -> None:
        """Switch to the catalogues of the folder, and note what comes of it."""
        before = self.catalogue_files.failure
        self.catalogue_files.note(await self.catalogue_files.renew(), count=count)
        if (failure := self.catalogue_files.failure) != before:
            self._fail_catalogues(failure)

    async def _load_catalogues(self) -> bool:
        """Load the catalogues of the start; return False if that must be tried again."""
        await self._renew_catalogues(count=False)
        return not self.catalogue_files.outcome.fault

    async def reload_scenes(self) -> Renewal:
        """Switch to the scenes of the file. Raises `Problem` (409) while bundles are being loaded."""
        self._check_idle()
        async with self._lock:
            await self._renew_scenes()
            return self.scene_outcome

    @property
    def scene_outcome(self) -> Renewal:
        """Renewal of the last reload of scenes, which every reload of bundles is, too."""
        return self._scene_file.outcome

    async def _renew_scenes(self, before: Renewal | None = None) -> None:
        """Switch to the scenes of the file, and note what comes of it.

        `before` is what came of that before bundles were switched: scenes that did not fit those may fit these.
        """
        if before is None or before.problem is not None:
            before = await self._scene_file.renew()
        self._scene_file.note(before)

    async def _load_scenes(self) -> bool:
        """Load the scenes of the start; return False if that must be tried again.

        A fault that is none of the file's is noted as well: one process alone goes on, and `watch` tries it again.
        """
        outcome = await self._scene_file.renew()
        self._scene_file.note(outcome, count=False)
        if outcome.problem is not None:
            self._fail_scenes(outcome.problem)
        return not outcome.fault

    def _check_idle(self) -> None:
        """Raise `Problem` (409) while bundles are being loaded."""
        if self._lock.locked():
            raise Problem(CONFLICT, "bundles are being loaded already; try again when that has ended")

    async def watch(self, seconds: float = POLL_SECONDS) -> NoReturn:
        """Try what was refused again when its files have changed, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            for name, version in await self._refusals.changed():
                async with self._lock:
                    versions = await asyncio.to_thread(self._folder.versions, name)
                    if version in candidates(versions, self._current_version(name)):
                        _log.info("the files of bundle %s version %s have changed: trying it again", name, version)
                        await self._renew(name, [version])
                        if self._scene_file.is_refused:  # They may fit what serves now.
                            await self._renew_scenes()
            if await self.catalogue_files.changed():
                async with self._lock:
                    await self._renew_catalogues()
            if await self._scene_file.changed():
                async with self._lock:
                    await self._renew_scenes()
            if self._failed:
                async with self._lock:
                    await self._forgive_gone()

    async def _forgive_gone(self) -> None:
        """Drop the names of the start that failed and whose folders are gone.

        They keep the service from being ready no longer.
        """
        for name in sorted(self._failed):
            if await asyncio.to_thread(self._folder.is_gone, name):
                _log.info("bundle %s, which was not loaded, is gone from the folder", name)
                self._failed.discard(name)
                self._fail(name, None)

    def _current_version(self, name: str) -> str | None:
        current = self._current(name)
        return None if current is None else current.version

    def _is_current(self, name: str, version: str) -> bool:
        """Tell whether a version is current, and as it is on disk now."""
        current = self._current(name)
        if current is None or current.version != version:
            return False
        try:
            return identity(self._folder.manifest(name, version)) == current.files
        except BundleError:  # Loading it says what is wrong with it now.
            return False

    async def _renew(self, name: str, versions: Sequence[str]) -> None:
        """Switch to the newest sound version of these, unless it serves already; count the results."""
        if self._is_current(name, versions[-1]):
            return
        try:
            served, refused = await self._load_newest(name, versions, 1)
        except Interrupted as error:
            _log.error("reload of bundle %s was refused: %s", name, error)
            served, refused = 0, 1
        for result in ["ok"] * served + ["refused"] * refused:
            self._on_reload(result)

    async def _load_newest(self, name: str, versions: Sequence[str], count: int) -> tuple[int, int]:
        """Let the `count` newest sound versions of these serve.

        Returns how many do, and how many were refused. Raises `Interrupted`, and then nothing has changed.
        """
        staged: list[Staged] = []
        reasons: list[str] = []
        try:
            for version in reversed(versions):
                if len(staged) == count:
                    break
                before = await self._refusals.look(name, version)
                try:
                    staged.append(await self._stage(name, version))
                except Interrupted:  # Also where it is a RuntimeError.
                    raise
                except (BundleError, RuntimeError) as error:
                    _log.warning("bundle %s: version %s is refused: %s", name, version, error)
                    self._refusals.add(name, version, before)
                    reasons.append(str(error))
        except BaseException:
            for one in staged:
                self._drop(one)
            raise
        for one in reversed(staged):  # The newest last, which makes it the current one.
            await self._serve(one)
        if reasons and not staged:
            _log.error("bundle %s was not loaded: %s", name, reasons[0])
            if name in self._failed:
                self._fail(name, reasons[0])
        return len(staged), len(reasons)


def candidates(versions: Sequence[str], current: str | None) -> Sequence[str]:
    """Return the versions that may replace the current one: those that are newer.

    If there is none, the newest: its files may have changed. All, if no version is live.
    """
    if current is None:
        return versions
    place = versions.index(current) + 1 if current in versions else len(versions)
    return versions[place:] or versions[-1:]
