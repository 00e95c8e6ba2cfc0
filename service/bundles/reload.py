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

from service.bundles.folder import Catalogue
from service.bundles.load import load_bundle
from service.bundles.model import BundleError, Model
from service.bundles.registry import Registry
from service.contract.problems import BUNDLE_REFUSED, CONFLICT, Problem
from service.inference.aside import run_aside
from service.inference.onnx.session import SessionConfig

_log = logging.getLogger(__name__)
_NICEST: Final = 19

Warm = Callable[[Model], Awaitable[None]]
"""Sends requests through a model that does not serve yet. Raises `BundleError` if one is not answered."""

OnReload = Callable[[str], None]
"""Told ``ok`` or ``refused`` of every bundle that a reload has looked at."""


class Loader:
    """Load bundles from `root` aside, then publish them in a registry."""

    def __init__(
        self, root: Path, config: SessionConfig, registry: Registry, warm: Warm, *, on_reload: OnReload = lambda _: None
    ) -> None:
        self._catalogue = Catalogue(root)
        self._config = config
        self._registry = registry
        self._warm = warm
        self._on_reload = on_reload
        self._lock = asyncio.Lock()

    async def load_all(self) -> None:
        """Load the newest versions of every name; note and log failures."""
        async with self._lock:  # Else a version that a reload asks for meanwhile would be replaced by the newest.
            for name, version in self._catalogue.newest(self._registry.keep_versions):
                try:
                    self.publish(await self.prepare(name, version))
                except BundleError as error:
                    _log.error("bundle %s was not loaded: %s", name, error)
                    self._registry.fail(name, str(error))
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
            self._on_reload("ok")
            return model

    async def reload_all(self) -> None:
        """Switch every name in the folder to its newest version, new names included.

        A version that is current already is not loaded again. A bundle that is refused is logged, and its
        predecessor goes on serving.
        """
        async with self._lock:
            for name, version in self._catalogue.newest(1):
                try:
                    if self._is_current(name, version):
                        continue
                    self.publish(await self.prepare(name, version))
                    self._on_reload("ok")
                except BundleError as error:
                    _log.error("reload of bundle %s was refused: %s", name, error)
                    self._on_reload("refused")

    async def prepare(self, name: str, version: str | None) -> Model:
        """Load, check and warm a model that does not serve yet. Raises `BundleError`."""
        try:
            model = await run_aside(lambda: self._load_quietly(name, version))
            await self._warm(model)
        except BundleError:
            raise
        except Exception as error:  # No fault of a bundle may stop the live ones from serving.
            raise BundleError(f"cannot be loaded: {error!r}") from error
        return model

    def publish(self, model: Model) -> None:
        """Let a prepared model serve."""
        self._registry.publish(model)
        verdict = model.manifest.verdict
        _log.log(
            logging.INFO if verdict.is_good_news else logging.WARNING,
            "serving model %s version %s on %s; beside the plain sort: %s. %s",
            *(model.name, model.version, model.engine.provider, verdict.outcome, verdict.sentence),
        )

    def load(self, name: str, version: str | None = None) -> Model:
        """Load and check a model. Raises `BundleError`; blocks until it is done."""
        folder = self._catalogue.folder(name, version)
        model = load_bundle(folder, self._config)
        if (model.name, model.version) != (folder.parent.name, folder.name):
            raise BundleError(
                f"bundle.json: says {model.name}/{model.version}, but stands in {folder.parent.name}/{folder.name}"
            )
        return model

    def _load_quietly(self, name: str, version: str | None) -> Model:
        """Load at the lowest priority while requests are answered: their time matters more.

        With several threads for a run ONNX Runtime starts them here, and they would keep the priority for good.
        """
        with low_priority(self._registry.serving and self._config.intra_op_threads == 1):
            return self.load(name, version)

    def _is_current(self, name: str, version: str) -> bool:
        model = self._registry.current(name)
        if model is None or model.version != version:
            return False
        return self._catalogue.manifest(name, version) == model.manifest


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
