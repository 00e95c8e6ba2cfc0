"""Keep the live scenes those of their file; a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from models.contract.serving import SCENES_FILE
from service.bundles.renewing import UNCHANGED, OnRenewal, Renewal, Renewing
from service.scenes.reading import SceneMap, read_scenes
from service.scenes.scene import SceneError

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None
"""Size, time of change and inode of the file; None if there is none."""

SwitchScenes = Callable[[SceneMap], Awaitable[None]]
"""Checks scenes beside the live models and lets them serve. Raises `SceneError`, `RuntimeError` or `Interrupted`."""


class SceneFile(Renewing):
    """Read the file of a bundles folder, and switch to what it says."""

    def __init__(self, root: Path, switch: SwitchScenes, on_renewal: OnRenewal) -> None:
        super().__init__(SceneError, on_renewal)
        self._root = root
        self._switch = switch
        self._served: SceneMap | None = None

    async def _renew(self) -> Renewal:
        scenes = await asyncio.to_thread(read_scenes, self._root)
        if scenes == self._served:
            return UNCHANGED
        await self._switch(scenes)
        if scenes or self._served:
            _log.info("serving the scenes of %s: %s", SCENES_FILE, ", ".join(sorted(scenes)) or "none")
        self._served = scenes
        return Renewal(switched=True)

    def _log_refusal(self, problem: str) -> None:
        live = "there are no scenes" if self._served is None else "the scenes before it go on"
        _log.error("%s is refused, and %s: %s", SCENES_FILE, live, problem)

    def _stamp(self) -> _Stamp:
        path = self._root / SCENES_FILE
        try:
            found = path.stat() if path.exists() else path.lstat()  # A link to nothing is not the same as nothing.
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino
