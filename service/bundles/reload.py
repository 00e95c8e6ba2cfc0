"""Load and verify bundles in the background, then publish them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from service.bundles.load import check_place, identity, load_bundle
from service.bundles.model import BundleError, Model
from service.bundles.refusals import OnRefusal
from service.bundles.registry import Registry
from service.bundles.switching import OnReload, Switcher
from service.bundles.trial import Trial
from service.contract.problems import BUNDLE_REFUSED, CONFLICT, Problem
from service.inference.aside import run_aside
from service.inference.onnx.session import SessionConfig

_log = logging.getLogger(__name__)
_NICEST: Final = 19

Warm = Callable[[Model], Awaitable[None]]
"""Sends requests through a model that does not serve yet. Raises `BundleError` if one is not answered."""


class Loader(Switcher[Model]):
    """Load bundles from `root` aside, then publish them in a registry.

    With `trial` each is first tried in a process of its own. `golden` says whether recorded requests are replayed in
    this process. `on_refusal` is told of versions that a start or a hang-up signal would have served.
    """

    def __init__(
        self,
        root: Path,
        config: SessionConfig,
        registry: Registry,
        warm: Warm,
        *,
        trial: Trial | None = None,
        golden: bool = True,
        on_reload: OnReload = lambda _: None,
        on_refusal: OnRefusal = lambda _name, _version, _refused: None,
    ) -> None:
        super().__init__(root, on_reload, on_refusal)
        self._config = config
        self._registry = registry
        self._warm = warm
        self._trial = trial
        self._golden = golden

    async def load_all(self) -> None:
        """Load the newest sound versions of every name; note and log failures."""
        async with self._lock:  # Else a version that a reload asks for meanwhile would be replaced by the newest.
            for name, versions in self._catalogue.bundles().items():
                await self._load_first(name, versions, self._registry.keep_versions)
        self._registry.loaded()

    async def reload(self, name: str, version: str | None) -> Model:
        """Load a version (newest if None) aside, check it, then switch to it.

        Raises `Problem`: 409 while bundles are being loaded already, 422 if the bundle is refused; then nothing has
        changed.
        """
        if self._lock.locked():
            raise Problem(CONFLICT, "bundles are being loaded already; try again when that has ended")
        async with self._lock:
            try:
                model = await self.prepare(name, version)
            except BundleError as error:
                _log.error("reload of bundle %s was refused: %s", name, error)
                self._on_reload("refused")
                raise Problem(BUNDLE_REFUSED, str(error)) from None
            self.publish(model)
            self._refusals.leave(name)
            self._on_reload("ok")
            return model

    async def prepare(self, name: str, version: str | None) -> Model:
        """Load, check and warm a model that does not serve yet. Raises `BundleError`."""
        try:
            folder = await asyncio.to_thread(self._catalogue.folder, name, version)
            tried = None if self._trial is None else await self._trial.run(folder, low_priority=self._registry.serving)
            model = await run_aside(lambda: self._load_quietly(folder))
            if tried not in (None, identity(model.manifest)):
                raise BundleError("its files have changed since they were tried")
            await self._warm(model)
        except BundleError:
            raise
        except Exception as error:  # No fault of a bundle may stop the live ones from serving.
            raise BundleError(f"cannot be loaded: {error!r}") from error
        return model

    def publish(self, model: Model) -> None:
        """Let a prepared model serve."""
        self._registry.publish(model)
        self._refusals.forget(model.name, model.version)
        verdict = model.manifest.verdict
        _log.log(
            logging.INFO if verdict.is_good_news else logging.WARNING,
            "serving model %s version %s on %s; beside the plain sort: %s. %s",
            *(model.name, model.version, model.engine.provider, verdict.outcome, verdict.sentence),
        )

    def load(self, folder: Path) -> Model:
        """Load and check a model. Raises `BundleError`; blocks until it is done."""
        model = load_bundle(folder, self._config, golden=self._golden)
        check_place(model.manifest, folder)
        return model

    def _load_quietly(self, folder: Path) -> Model:
        """Load at the lowest priority while requests are answered: their time matters more.

        With several threads for a run ONNX Runtime starts them here, and they would keep the priority for good.
        """
        with low_priority(self._registry.serving and self._config.intra_op_threads == 1):
            return self.load(folder)

    async def _stage(self, name: str, version: str) -> Model:
        return await self.prepare(name, version)

    async def _serve(self, staged: Model) -> None:
        self.publish(staged)

    def _drop(self, staged: Model) -> None:
        """Do nothing: a model that is not published goes by itself."""

    def _fail(self, name: str, reason: str) -> None:
        self._registry.fail(name, reason)

    def _current(self, name: str) -> str | None:
        model = self._registry.current(name)
        return None if model is None else model.version

    def _is_current(self, name: str, version: str) -> bool:
        model = self._registry.current(name)
        if model is None or model.version != version:
            return False
        try:
            return self._catalogue.manifest(name, version) == model.manifest
        except BundleError:  # Loading it says what is wrong with it now.
            return False


@contextlib.contextmanager
def low_priority(wanted: bool) -> Iterator[None]:
    """Run the calling thread at the lowest priority if `wanted`, then restore it.

    Putting it back needs a right that a process may lack; its thread then stays as it is, and should be one that ends.
    """
    if not wanted or sys.platform != "linux":
        yield
        return
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, _NICEST)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, before)
