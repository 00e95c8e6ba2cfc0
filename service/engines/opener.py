"""Open a bundle whose graph an engine process runs."""

from __future__ import annotations

from pathlib import Path

from service.bundles.load import check_place, digest, make_model, read_manifest
from service.bundles.model import Interrupted, Model
from service.engines.link import EngineLink
from service.inference.aside import low_priority, run_aside
from service.inference.engine import EngineError


class RemoteOpener:
    """Make models whose engines are those of the engine process at `path`."""

    def __init__(self, link: EngineLink, path: Path) -> None:
        self._link = link
        self._path = path

    async def open(self, folder: Path, *, quietly: bool) -> Model:
        """Load and check all but the graph. Raises `BundleError`, and `Interrupted` without the engine process."""
        try:
            await self._link.open(self._path)
            return await run_aside(lambda: self._load(folder, quietly))
        except EngineError as error:
            raise Interrupted(str(error)) from None

    def _load(self, folder: Path, quietly: bool) -> Model:
        with low_priority(quietly):
            manifest = read_manifest(folder)
            check_place(manifest, folder)
            engine = self._link.engine(self._path, manifest.name, manifest.version, digest(manifest))
            return make_model(manifest, engine)
