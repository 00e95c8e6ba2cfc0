"""Find the bundles in one root folder, as ``<name>/<version>/bundle.json``.

What cannot be read is named in the log and left out; it hides nothing else. Names that begin with a dot are left out
without a word, so that an upload can have such a name until it is whole.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.contract.manifest import MANIFEST_FILE, Manifest
from models.contract.spec import SpecError
from models.contract.versions import FOLDER_NAME
from models.contract.versions import in_order as in_order
from service.bundles.model import BundleError
from service.scenes.scene import SCENES_FILE
from service.settings import NO_DEFAULT

_log = logging.getLogger(__name__)
_RESERVED: Final = "is no name for a model: as the default model it means that there is none"


@dataclass(frozen=True)
class Listing:
    """Hold what was found in a root folder.

    `bundles` maps each name that has a bundle to its versions, oldest first; `problems` says what was left out and why.
    """

    bundles: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class BundleFolder:
    """List the bundles on disk; nothing is cached."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def bundles(self) -> dict[str, list[str]]:
        """Return the versions of every name, oldest first; log what cannot be read.

        Returns none where the root folder itself cannot be read: a volume that is away is no reason to stop serving.
        """
        listing = self.scan()
        for problem in listing.problems:
            _log.warning("left out of the bundles: %s", problem)
        return listing.bundles

    def scan(self) -> Listing:
        """Return the versions of every name, oldest first, and what was left out."""
        listing = Listing()
        for folder in _folders(self._root, listing.problems, but=SCENES_FILE):
            if folder.name == NO_DEFAULT:
                listing.problems.append(f"{str(folder)!r}: {NO_DEFAULT!r} {_RESERVED}")
            elif found := _versions(folder, listing.problems):
                listing.bundles[folder.name] = found
        return listing

    def versions(self, name: str) -> list[str]:
        """Return the versions of one name, oldest first."""
        return versions(self._root / name)

    def is_gone(self, name: str) -> bool:
        """Tell whether there is no folder of this name, though the root can be read."""
        return self._root.is_dir() and not os.path.lexists(self._root / name)

    def folder(self, name: str, version: str | None) -> Path:
        """Return a bundle's folder, of its newest version if `version` is None.

        It must lie inside the root, even by links. Raises `BundleError`.
        """
        for key, value in (("model", name), ("version", version)):
            if value is not None and not FOLDER_NAME.fullmatch(value):
                raise BundleError(f"{key}: {value[:64]!r} is not a plain folder name")
        if name == NO_DEFAULT:
            raise BundleError(f"model: {name!r} {_RESERVED}")
        if version is None:
            found = self.versions(name)
            if not found:
                raise BundleError(f"model: there is no bundle {name!r}")
            version = found[-1]
        folder = self._root / name / version
        try:
            if not folder.resolve().is_relative_to(self._root):
                raise BundleError(f"{name}/{version}: lies outside the bundles folder")
            if not _is_bundle(folder):
                raise BundleError(f"version: bundle {name!r} has no version {version!r}")
        except FileNotFoundError:
            raise BundleError(f"version: bundle {name!r} has no version {version!r}") from None
        except (OSError, RuntimeError) as error:  # Python 3.11 raises RuntimeError for links that lead in a circle.
            raise BundleError(f"{name}/{version}: cannot be read: {error}") from None
        return folder

    def manifest(self, name: str, version: str) -> Manifest:
        """Read a bundle's manifest. Raises `BundleError`."""
        try:
            return Manifest.read(self.folder(name, version))
        except SpecError as error:
            raise BundleError(str(error)) from None


def versions(folder: Path) -> list[str]:
    """List the version names in a bundle's folder, oldest first."""
    return _versions(folder, []) if FOLDER_NAME.fullmatch(folder.name) else []


def _versions(folder: Path, problems: list[str]) -> list[str]:
    """List versions, oldest first; add what was left out to `problems`."""
    return in_order([path.name for path in _folders(folder, problems) if _without_fault(_is_bundle, path, problems)])


def _folders(root: Path, problems: list[str], *, but: str | None = None) -> list[Path]:
    """List the folders in `root`, `but` left aside; add what was left out to `problems`."""
    try:
        found = sorted(root.iterdir(), key=lambda path: path.name)
    except OSError as error:
        problems.append(_problem(root, error))
        return []
    visible = [path for path in found if not path.name.startswith(".") and path.name != but]
    return [path for path in visible if _without_fault(_is_named_folder, path, problems)]


def _without_fault(holds: Callable[[Path], bool], path: Path, problems: list[str]) -> bool:
    """Tell whether `holds(path)`; if it cannot be read, add that to `problems`."""
    try:
        return holds(path)
    except OSError as error:
        problems.append(_problem(path, error))
        return False


def _is_named_folder(path: Path) -> bool:
    """Return True for a folder with a plain name. Raises `OSError` for anything else."""
    if not FOLDER_NAME.fullmatch(path.name):
        raise OSError(errno.EINVAL, "its name is not plain: letters, digits, '.', '_' and '-' only, at most 128")
    if not stat.S_ISDIR(path.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return True


def _is_bundle(folder: Path) -> bool:
    """Tell whether a folder holds a manifest. Raises `OSError` if that cannot be found out."""
    try:
        return stat.S_ISREG((folder / MANIFEST_FILE).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _problem(path: Path, error: OSError) -> str:
    """Name a path, in printable characters, and what is wrong with it."""
    return f"{str(path)!r}: {error.strerror}"
