"""Keep the live scenes those of their file; a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from service.bundles.model import Interrupted
from service.scenes.reading import SceneMap, read_scenes
from service.scenes.scene import SCENES_FILE, SceneError

_log = logging.getLogger(__name__)

SceneResult = Literal["ok", "unchanged", "refused"]
_Stamp = tuple[int, int, int] | None
"""Size, time of change and inode of the file; None if there is none."""


@dataclass(frozen=True, slots=True)
class SceneOutcome:
    """Result of reading the file.

    `problem` says why it was refused; `fault` that the reason is none of the file's.
    """

    result: SceneResult
    problem: str | None = None
    fault: bool = False


UNCHANGED: Final = SceneOutcome("unchanged")
SwitchScenes = Callable[[SceneMap], Awaitable[None]]
"""Checks scenes beside the live models and lets them serve. Raises `SceneError`, `RuntimeError` or `Interrupted`."""


class SceneFile:
    """Read the file of a bundles folder, and switch to what it says.

    Used from the event loop only. `on_reload` is told ``ok`` or ``refused`` of every reload that found something new.
    """

    def __init__(self, root: Path, switch: SwitchScenes, on_reload: Callable[[str], None]) -> None:
        self._root = root
        self._switch = switch
        self._on_reload = on_reload
        self._served: SceneMap | None = None
        self._tried: _Stamp = None
        self._last: _Stamp = None
        self.outcome = UNCHANGED
        """What came of the last look that was noted."""

    async def renew(self) -> SceneOutcome:
        """Switch to what the file says, unless it serves already; say what came of it."""
        self._tried = self._last = await asyncio.to_thread(self._stamp)
        try:
            scenes = await asyncio.to_thread(read_scenes, self._root)
            if scenes == self._served:
                return UNCHANGED
            await self._switch(scenes)
        except SceneError as error:
            return SceneOutcome("refused", str(error))
        except (Interrupted, RuntimeError) as error:
            return SceneOutcome("refused", f"{error}; nothing has changed", fault=True)
        if scenes or self._served:
            _log.info("serving the scenes of %s: %s", SCENES_FILE, ", ".join(sorted(scenes)) or "none")
        self._served = scenes
        return SceneOutcome("ok")

    def note(self, outcome: SceneOutcome, *, count: bool = True) -> None:
        """Keep an outcome, log a refusal, and count both kinds unless told otherwise."""
        self.outcome = outcome
        if outcome.problem is not None:
            live = "there are no scenes" if self._served is None else "the scenes before it go on"
            _log.error("%s is refused, and %s: %s", SCENES_FILE, live, outcome.problem)
        if count and outcome.result != "unchanged":
            self._on_reload(outcome.result)

    @property
    def is_refused(self) -> bool:
        """Tell whether the file was refused when it was last looked at."""
        return self.outcome.problem is not None

    async def changed(self) -> bool:
        """Tell whether a refused file should be tried again.

        That is one that has changed, but not since the last call: who writes may not have finished. One that was
        refused for a `fault` need not have changed.
        """
        if not self.is_refused:
            return False
        now = await asyncio.to_thread(self._stamp)
        stable, self._last = now == self._last, now
        return stable and (self.outcome.fault or now != self._tried)

    def _stamp(self) -> _Stamp:
        try:
            found = (self._root / SCENES_FILE).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino
