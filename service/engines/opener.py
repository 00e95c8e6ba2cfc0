"""Open a bundle whose graph an engine process runs.

Everything but the graph is in this process.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from models.contract.manifest import Manifest
from service.bundles.load import check_place, digest, make_model, read_manifest
from service.bundles.model import Interrupted, Model
from service.engines.link import EngineLink
from service.engines.remote import RemoteEngine
from service.inference.aside import low_priority, run_aside
from service.inference.engine import EngineError

_CONNECT_SECONDS: Final = 10.0
"""Orders come once the process listens, so only one that has just ended is late."""


class RemoteOpener:
    """Make models whose engines are those of the engine process at `path`."""

    def __init__(self, link: EngineLink, path: Path) -> None:
        self._link = link
        self._path = path

    async def open(self, folder: Path, *, quietly: bool) -> Model:
        """Load and check all but the graph. Raises `BundleError`, and `Interrupted` without the engine process."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._link.open(self._path)
        except TimeoutError:
            raise Interrupted(f"no engine process has listened within {_CONNECT_SECONDS:g} s") from None
        except EngineError as error:
            raise Interrupted(str(error)) from None
        try:
            manifest = await run_aside(lambda: _read(folder, quietly))
            engine = self._link.engine(self._path, manifest.name, manifest.version, digest(manifest))
        except EngineError as error:
            raise Interrupted(str(error)) from None
        return await run_aside(lambda: _make(manifest, engine, quietly))


def _read(folder: Path, quietly: bool) -> Manifest:
    with low_priority(quietly):
        manifest = read_manifest(folder)
        check_place(manifest, folder)
        return manifest


def _make(manifest: Manifest, engine: RemoteEngine, quietly: bool) -> Model:
    with low_priority(quietly):
        return make_model(manifest, engine)
