"""Finds bundles under one root folder, and loads them aside while others serve.

A root holds ``<name>/<version>/bundle.json``. The newest version of a name is the last in natural order (10 after 9).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from models.manifest import MANIFEST_FILE
from service.bundle import load_bundle
from service.model import BundleError, Model
from service.onnx_engine import SessionConfig
from service.problems import BUNDLE_REFUSED, CONFLICT, Problem
from service.registry import Registry

_log = logging.getLogger(__name__)
_FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


Warm = Callable[[Model], Awaitable[None]]
"""Sends requests through a model that does not serve yet. Raises `BundleError` if one is not answered."""


class Loader:
    """Loads bundles from `root` into a registry."""

    def __init__(self, root: Path, config: SessionConfig, registry: Registry, warm: Warm) -> None:
        self._root = root.resolve()
        self._config = config
        self._registry = registry
        self._warm = warm
        self._lock = asyncio.Lock()

    async def load_all(self) -> None:
        """Load the newest version of every name; what fails is noted in the registry and logged."""
        async with self._lock:  # Else a version that a reload asks for meanwhile would be replaced by the newest.
            for name in sorted(p.name for p in self._root.iterdir() if versions(p)):
                try:
                    await self._bring_up(name, None)
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
                return await self._bring_up(name, version)
            except BundleError as error:
                _log.error("reload of bundle %s was refused: %s", name, error)
                raise Problem(BUNDLE_REFUSED, str(error)) from None

    def load(self, name: str, version: str | None = None) -> Model:
        """A checked model. Raises `BundleError`; blocks for as long as it takes."""
        folder = self._folder(name, version)
        model = load_bundle(folder, self._config)
        if (model.name, model.version) != (folder.parent.name, folder.name):
            raise BundleError(
                f"bundle.json: says {model.name}/{model.version}, but stands in {folder.parent.name}/{folder.name}"
            )
        return model

    async def _bring_up(self, name: str, version: str | None) -> Model:
        model = await asyncio.to_thread(self.load, name, version)
        await self._warm(model)
        self._registry.publish(model)
        _log.info("serving model %s version %s on %s", model.name, model.version, model.engine.provider)
        return model

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
