"""Find the catalogues in one root folder, as ``<fingerprint's first digits>/<version>/catalogue.json``.

What cannot be read, or has another name than a fingerprint's digits, is named in the log and left out; it hides nothing
else. Names that begin with a dot are left out without a word, so that an upload can have such a name until it is whole.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final

from models.contract.catalogue.manifest import CATALOGUE_FILE, FINGERPRINT_DIGITS, CatalogueError
from service.folders import named_folders, versions_in

_log = logging.getLogger(__name__)
_DIGITS: Final = re.compile(rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}")

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Path, size, time of change, mode and inode of each file in a folder."""


class CatalogueFolder:
    """List the catalogues on disk; nothing is cached."""

    def __init__(self, root: Path, *, needed: bool) -> None:
        """Look into `root`; without it there are none, unless it is `needed`."""
        self.root = root
        self._needed = needed

    def versions(self) -> dict[str, list[str]]:
        """Return versions by fingerprint folder, oldest first; log what is left out.

        Raises `CatalogueError` if the root cannot be read: a volume that is away is no reason to drop what serves.
        """
        try:
            os.scandir(self.root).close()
        except OSError as error:
            if not self._needed and is_gone(self.root) and self.root.parent.is_dir():
                return {}
            raise CatalogueError(f"{self.root}: cannot be read: {error.strerror}") from None
        problems: list[str] = []
        found = {}
        for folder in named_folders(self.root, problems):
            if not _DIGITS.fullmatch(folder.name):
                problems.append(f"{str(folder)!r}: its name is not {FINGERPRINT_DIGITS} digits of a fingerprint")
            elif versions := versions_in(folder, CATALOGUE_FILE, problems):
                found[folder.name] = versions
        for problem in problems:
            _log.warning("left out of the catalogues: %s", problem)
        return found

    def stamp(self, version: Path) -> Stamp:
        """Describe the files of one version: what is written or replaced changes it."""
        # What cannot be read, or goes meanwhile, is left out.
        inside = (Path(folder, name) for folder, folders, files in os.walk(version) for name in (*folders, *files))
        return tuple(sorted(_describe(path) for path in (version, *inside)))

    def root_stamp(self) -> Stamp:
        """Describe the root folder itself, which may not be there."""
        return (_describe(self.root),)


def is_gone(path: Path) -> bool:
    """Tell whether there is nothing of this name, not even a link.

    False where that cannot be found out.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _describe(path: Path) -> tuple[str, int, int, int, int]:
    try:
        found = path.stat()
    except OSError:  # A link to nothing, or a file that has just gone.
        return (str(path), 0, 0, 0, 0)
    return (str(path), found.st_size, found.st_mtime_ns, found.st_mode, found.st_ino)
