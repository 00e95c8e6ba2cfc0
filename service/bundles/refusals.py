"""Remember which versions were refused, and notice when their files have changed.

A version that is half there is refused; once the rest of its files has come it may be sound.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 5.0
"""Time between two looks at the folders of refused versions."""

Fingerprint = tuple[tuple[str, int, int, int], ...] | None
"""Name, size, time of change and inode of each file in a folder; None if there is no folder."""

OnRefusal = Callable[[str, str, bool], None]
"""Told name and version of a bundle, and whether it is refused now."""


@dataclass
class _Refused:
    """Fingerprints of a refused folder: when it was tried, and now."""

    tried: Fingerprint
    last: Fingerprint
    watched: bool = True


class Refusals:
    """Hold the refused versions of one root folder. Used from the event loop only."""

    def __init__(self, root: Path, tell: OnRefusal = lambda _name, _version, _refused: None) -> None:
        self._root = root
        self._tell = tell
        self._refused: dict[tuple[str, str], _Refused] = {}

    async def look(self, name: str, version: str) -> Fingerprint:
        """Return what a version's folder is like before it is tried, for `add`."""
        return await asyncio.to_thread(_fingerprint, self._root / name / version)

    def add(self, name: str, version: str, tried: Fingerprint) -> None:
        """Note that a version was refused whose folder was like `tried`."""
        self._refused[name, version] = _Refused(tried, tried)
        self._tell(name, version, True)

    def forget(self, name: str, version: str) -> None:
        """Note that a version is live, or gone."""
        if self._refused.pop((name, version), None) is not None:
            self._tell(name, version, False)

    def leave(self, name: str) -> None:
        """Try no refused version of a name again by itself: an operator has chosen another."""
        for (other, _), refused in self._refused.items():
            refused.watched &= other != name

    async def changed(self) -> list[tuple[str, str]]:
        """Return versions whose files have changed since they were refused.

        Only those that have not changed since the last call: who writes may not have finished. Each change is returned
        once. A version whose folder is gone is forgotten.
        """
        due = []
        for (name, version), refused in list(self._refused.items()):
            now = await self.look(name, version)
            stable, refused.last = now == refused.last, now
            if now == refused.tried or not stable:
                continue
            refused.tried = now
            if now is None:
                self.forget(name, version)
            elif refused.watched:
                due.append((name, version))
        return due


def _fingerprint(folder: Path) -> Fingerprint:
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(_describe(entry) for entry in entries))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # It is there, but not to be read yet.
        return ()


def _describe(entry: os.DirEntry[str]) -> tuple[str, int, int, int]:
    try:
        found = entry.stat()
    except OSError:  # A link to nothing, or a file that has just gone.
        return (entry.name, 0, 0, 0)
    return (entry.name, found.st_size, found.st_mtime_ns, found.st_ino)
