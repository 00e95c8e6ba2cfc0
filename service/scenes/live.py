"""Hold the live scenes, which are swapped all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection

from models.contract.serving import SCENES_FILE
from service.contract.problems import NOT_READY, invalid, unavailable
from service.scenes.reading import NO_SCENES, SceneMap
from service.scenes.scene import Scene

_MOST_NAMED = 10
_LONGEST_NAME = 64

Tell = Callable[[Collection[str]], None]
"""Told the names of all live scenes."""


class Scenes:
    """Hold the live scenes by name. Used from the event loop only."""

    def __init__(self, *, retry_after_seconds: int = 1) -> None:
        self._retry_after = retry_after_seconds
        self._live: SceneMap | None = None
        self._failure: str | None = None
        self._swapped: list[Tell] = []

    @property
    def live(self) -> SceneMap:
        """Return the live scenes, which never change; a swap puts others in their place."""
        return NO_SCENES if self._live is None else self._live

    def swap(self, scenes: SceneMap) -> None:
        """Let these scenes serve from now on, and no other."""
        self._live, self._failure = scenes, None
        for tell in self._swapped:
            tell(scenes.keys())

    def on_swap(self, tell: Tell) -> None:
        """Call `tell` with the names of the scenes after each swap."""
        self._swapped.append(tell)

    def fail(self, reason: str | None) -> None:
        """Note why the file of the start was refused; ignored once scenes are live."""
        if self._live is None:
            self._failure = reason

    def why_not_ready(self) -> str | None:
        """Return the reason why the scenes of the start are not live, or None."""
        return None if self._failure is None else f"{SCENES_FILE} was not loaded: {self._failure}"

    def find(self, name: str) -> Scene:
        """Return the scene that a request names.

        Raises `Problem`: 503 if the scenes of the start are not live, 422 if there is no such scene.
        """
        if self._live is None:
            raise unavailable(NOT_READY, self.why_not_ready() or "scenes are being loaded", self._retry_after)
        scene = self._live.get(name)
        if scene is None:
            raise invalid("scene", f"there is no scene {name[:_LONGEST_NAME]!r}; {_known(sorted(self._live))}")
        return scene


def _known(names: list[str]) -> str:
    """Say which scenes there are, the first few by name."""
    if not names:
        return "there are none"
    more = len(names) - _MOST_NAMED
    return f"there is: {', '.join(names[:_MOST_NAMED])}" + (f", and {more} more" if more > 0 else "")
