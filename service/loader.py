"""Finds bundles under one root folder, and loads them aside while others serve.

A root holds ``<name>/<version>/bundle.json``. The newest version of a name is the last in natural order (10 after 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from models.manifest import MANIFEST_FILE, Manifest
from models.spec import SpecError
from service.bundle import load_bundle
from service.model import BundleError, Model
from service.onnx_engine import SessionConfig
from service.priority import low_priority
from service.problems import BUNDLE_REFUSED, CONFLICT, Problem
from service.registry import Registry

_log = logging.getLogger(__name__)
_FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


Warm = Callable[[Model], Awaitable[None]]
"""Sends requests through a model that does not serve yet. Raises `BundleError` if one is not answered."""

OnReload = Callable[[str], None]
"""Told ``ok`` or ``refused`` of every bundle that a reload has looked at."""


def _ignore(_: str) -> None:
    pass


class Loader:
    """Loads bundles from `root` into a registry. Loading is always done aside, then the registry is told."""

    def __init__(
        self, root: Path, config: SessionConfig, registry: Registry, warm: Warm, *, on_reload: OnReload = _ignore
    ) -> None:
        self._root = root.resolve()
        self._config = config
        self._registry = registry
        self._warm = warm
        self._on_reload = on_reload
        self._lock = asyncio.Lock()

    async def load_all(self) -> None:
        """Load the newest versions of every name; what fails is noted in the registry and logged."""
        async with self._lock:  # Else a version that a reload asks for meanwhile would be replaced by the newest.
            for name, version in self._newest(self._registry.keep_versions):
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
        async with self.exclusively():
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
        """Switch every name in the folder to its newest version, new names included; what is that already stays.

        A bundle that is refused is logged, and what it would have replaced goes on serving.
        """
        async with self._lock:
            for name, version in self._newest(1):
                try:
                    if self._is_current(name, version):
                        continue
                    self.publish(await self.prepare(name, version))
                    self._on_reload("ok")
                except BundleError as error:
                    _log.error("reload of bundle %s was refused: %s", name, error)
                    self._on_reload("refused")

    @contextlib.asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Nobody else loads meanwhile. Raises `Problem` (409) if somebody does already."""
        if self._lock.locked():
            raise Problem(CONFLICT, "bundles are being loaded already; try again when that has ended")
        async with self._lock:
            yield

    async def prepare(self, name: str, version: str | None) -> Model:
        """A checked and warmed model that does not serve yet. Raises `BundleError`."""
        try:
            model = await asyncio.to_thread(self._load_quietly, name, version)
            await self._warm(model)
        except BundleError:
            raise
        except Exception as error:  # Whatever is wrong with a bundle, what serves goes on serving.
            raise BundleError(f"cannot be loaded: {error!r}") from error
        return model

    def publish(self, model: Model) -> None:
        """Let a prepared model serve."""
        self._registry.publish(model)
        _log.info("serving model %s version %s on %s", model.name, model.version, model.engine.provider)

    def load(self, name: str, version: str | None = None) -> Model:
        """A checked model. Raises `BundleError`; blocks for as long as it takes."""
        folder = self._folder(name, version)
        model = load_bundle(folder, self._config)
        if (model.name, model.version) != (folder.parent.name, folder.name):
            raise BundleError(
                f"bundle.json: says {model.name}/{model.version}, but stands in {folder.parent.name}/{folder.name}"
            )
        return model

    def _load_quietly(self, name: str, version: str | None) -> Model:
        """`load`, at the lowest priority while others are being answered: their time matters, this load's does not."""
        with low_priority(self._registry.serving):
            return self.load(name, version)

    def _newest(self, count: int) -> list[tuple[str, str]]:
        """Name and version of the `count` newest of every name, the newest of each last.

        Logs it and finds none where the folder cannot be read: a volume that is away is no reason to stop serving.
        """
        try:
            folders = sorted(self._root.iterdir(), key=lambda p: p.name)
            return [(folder.name, version) for folder in folders for version in versions(folder)[-count:]]
        except OSError as error:
            _log.error("the bundles folder cannot be read: %s", error)
            return []

    def _is_current(self, name: str, version: str) -> bool:
        model = self._registry.current(name)
        if model is None or model.version != version:
            return False
        try:
            return Manifest.read(self._folder(name, version)) == model.manifest
        except SpecError as error:
            raise BundleError(str(error)) from None

    def _folder(self, name: str, version: str | None) -> Path:
        """The bundle's folder, which must lie inside the root even when links are followed."""
        for key, value in (("model", name), ("version", version)):
            if value is not None and not _FOLDER_NAME.fullmatch(value):
                raise BundleError(f"{key}: {value[:64]!r} is not a plain folder name")
        if version is None:
            found = versions(self._root / name)
            if not found:
                raise BundleError(f"model: there is no bundle {name!r}")
            version = found[-1]
        folder = self._root / name / version
        if not folder.resolve().is_relative_to(self._root):
            raise BundleError(f"{name}/{version}: lies outside the bundles folder")
        if not (folder / MANIFEST_FILE).is_file():
            raise BundleError(f"version: bundle {name!r} has no version {version!r}")
        return folder


def versions(folder: Path) -> list[str]:
    """Version names in a bundle's folder, oldest first."""
    if not folder.is_dir() or not _FOLDER_NAME.fullmatch(folder.name):
        return []
    found = [p.name for p in folder.iterdir() if _FOLDER_NAME.fullmatch(p.name) and (p / MANIFEST_FILE).is_file()]
    return sorted(found, key=_natural)


def _natural(version: str) -> list[tuple[int, str]]:
    """Sort key under which numbers inside a name compare as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)]
