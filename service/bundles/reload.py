"""Load and verify bundles in the background, then publish them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from service.bundles.catalogues import CatalogueOptions
from service.bundles.load import identity
from service.bundles.model import BundleError, Interrupted, Model
from service.bundles.opening import Opener
from service.bundles.refusals import OnRefusal
from service.bundles.registry import Registry
from service.bundles.renewing import OnRenewal
from service.bundles.retired_catalogues import RetiredCatalogues
from service.bundles.scene_fit import check_scenes, check_switch
from service.bundles.switching import Current, OnReload, Switcher
from service.bundles.trial import Trial
from service.catalogues.live import Catalogues
from service.catalogues.load import CheckedCatalogue
from service.catalogues.opening import CatalogueSwitch, Opened
from service.contract.problems import BUNDLE_REFUSED, Problem
from service.inference.aside import run_aside
from service.scenes.live import Scenes
from service.scenes.reading import SceneMap

_log = logging.getLogger(__name__)

Warm = Callable[[Model], Awaitable[None]]
"""Sends requests through a model that does not serve yet. Raises `BundleError` if one is not answered."""


class Loader(Switcher[Model]):
    """Load bundles from `root` aside, then publish them in a registry.

    `opener` makes models of them. With `trial` each is first tried in a process of its own. Loading and warming then
    take at most `seconds`. `on_refusal` is told of versions that a start or a hang-up signal would have served.
    """

    def __init__(
        self,
        root: Path,
        opener: Opener,
        registry: Registry,
        warm: Warm,
        *,
        trial: Trial | None = None,
        seconds: float | None = None,
        on_reload: OnReload = lambda _: None,
        on_refusal: OnRefusal = lambda _name, _version, _refused: None,
        scenes: Scenes | None = None,
        on_scenes: OnRenewal = lambda _outcome, _count: None,
        catalogues: Catalogues | None = None,
        catalogue_options: CatalogueOptions | None = None,
        on_catalogues: OnRenewal = lambda _outcome, _count: None,
    ) -> None:
        super().__init__(root, on_reload, on_refusal, on_scenes, catalogue_options, on_catalogues)
        self._scenes = Scenes() if scenes is None else scenes
        self._catalogues = Catalogues() if catalogues is None else catalogues
        self._catalogue_switch = CatalogueSwitch(self._catalogues)
        self._retired = RetiredCatalogues()
        self._opener = opener
        self._registry = registry
        self._warm = warm
        self._trial = trial
        self._seconds = seconds

    async def load_all(self) -> None:
        """Load the catalogues, then the newest sound versions of every name, then the scenes.

        Failures are noted and logged.
        """
        async with self._lock:  # Else a version that a reload asks for meanwhile would be replaced by the newest.
            await self._load_catalogues()
            for name, versions in self._folder.bundles().items():
                await self._load_first(name, versions, self._registry.keep_versions)
            await self._load_scenes()
        self._registry.loaded()

    async def reload(self, name: str, version: str | None) -> Model:
        """Load a version (newest if None) aside, check it, then switch to it.

        Raises `Problem`: 409 while bundles are being loaded already, 422 if the bundle is refused; then nothing has
        changed.
        """
        self._check_idle()
        async with self._lock:
            await self._renew_catalogues()
            scenes = await self._scene_file.renew()
            try:
                model = await self.prepare(name, version)
            except BundleError as error:
                _log.error("reload of bundle %s was refused: %s", name, error)
                self._on_reload("refused")
                await self._renew_scenes(scenes)
                raise Problem(BUNDLE_REFUSED, str(error)) from None
            self.publish(model)
            self._refusals.leave(name)
            self._on_reload("ok")
            await self._renew_scenes(scenes)
            return model

    async def prepare(self, name: str, version: str | None, opener: Opener | None = None) -> Model:
        """Load, check and warm a model that does not serve yet.

        It is opened by another `opener` than usual if one is given. Raises `BundleError`, or `Interrupted` where the
        engine process is not there.
        """
        try:
            folder = await asyncio.to_thread(self._folder.folder, name, version)
            tried = None if self._trial is None else await self._trial.run(folder, low_priority=self._registry.serving)
            async with asyncio.timeout(self._seconds):
                return await self._open(folder, tried, opener or self._opener)
        except (BundleError, Interrupted):
            raise
        except TimeoutError:
            limit = f"{self._seconds} s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS)"
            raise BundleError(f"loading and warming it took longer than {limit}") from None
        except Exception as error:  # No fault of a bundle may stop the live ones from serving.
            raise BundleError(f"cannot be loaded: {error!r}") from error

    async def _open(self, folder: Path, tried: dict[str, str] | None, opener: Opener) -> Model:
        """Load and warm a model.

        Its files must be those that were tried, and it must suit the live scenes. Raises `BundleError`.
        """
        model = await opener.open(folder, quietly=self._registry.serving)
        if tried not in (None, identity(model.manifest)):
            raise BundleError("its files have changed since they were tried")
        check_switch(model, self._scenes.live, self._registry)
        await self._warm(model)
        return model

    def publish(self, model: Model) -> None:
        """Let a prepared model serve."""
        self._registry.publish(model)
        self._note_live(model.name, model.version)
        verdict = model.manifest.verdict
        _log.log(
            logging.INFO if verdict.is_good_news else logging.WARNING,
            "serving model %s version %s on %s; beside the plain sort: %s. %s",
            *(model.name, model.version, model.engine.provider, verdict.outcome, verdict.sentence),
        )
        if self._catalogues.live and self._catalogues.find(model.manifest.spec.fingerprint) is None:
            _log.warning(
                "no catalogue is for model %s version %s, whose feature spec has the fingerprint %s",
                *(model.name, model.version, model.manifest.spec.fingerprint),
            )

    def check_scenes(self, scenes: SceneMap) -> None:
        """Raise `SceneError`, naming the key, for a scene that the live models cannot serve."""
        check_scenes(scenes, self._registry)

    async def _switch_scenes(self, scenes: SceneMap) -> None:
        self.check_scenes(scenes)
        self._scenes.swap(scenes)

    def _fail_scenes(self, reason: str) -> None:
        self._scenes.fail(reason)

    async def prepare_catalogues(self, wanted: Sequence[CheckedCatalogue]) -> Opened:
        """Open catalogues aside. Raises `CatalogueError`."""
        return await run_aside(lambda: self._catalogue_switch.prepare(wanted))

    def publish_catalogues(self, opened: Opened) -> None:
        """Let prepared catalogues serve, and no other."""
        self._retired.unmap(self._catalogue_switch.commit(opened))

    async def _switch_catalogues(self, wanted: Sequence[CheckedCatalogue]) -> None:
        self.publish_catalogues(await self.prepare_catalogues(wanted))

    def _fail_catalogues(self, reason: str | None) -> None:
        self._catalogues.fail(reason)

    def _serves(self) -> bool:
        return self._registry.serving

    async def _stage(self, name: str, version: str) -> Model:
        return await self.prepare(name, version)

    async def _serve(self, staged: Model) -> None:
        self.publish(staged)

    def _drop(self, staged: Model) -> None:
        """Do nothing: a model that is not published goes by itself."""

    def _fail(self, name: str, reason: str | None) -> None:
        self._registry.fail(name, reason)

    def _current(self, name: str) -> Current | None:
        model = self._registry.current(name)
        return None if model is None else Current(model.version, identity(model.manifest))
