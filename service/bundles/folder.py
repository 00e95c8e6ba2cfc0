"""Find the bundles in one root folder, as ``<name>/<version>/bundle.json``.

The newest version of a name is the last in natural order (10 after 9).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

from models.contract.manifest import MANIFEST_FILE, Manifest
from models.contract.spec import SpecError
from service.bundles.model import BundleError

_log = logging.getLogger(__name__)
_FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Catalogue:
    """List the bundles on disk; nothing is cached."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def newest(self, count: int) -> list[tuple[str, str]]:
        """Return name and version of the `count` newest of every name, oldest first.

        Returns none, and logs the error, where the folder cannot be read: a volume that is away is no reason to stop
        serving.
        """
        try:
            folders = sorted(self._root.iterdir(), key=lambda p: p.name)
            return [(folder.name, version) for folder in folders for version in versions(folder)[-count:]]
        except OSError as error:
            _log.error("the bundles folder cannot be read: %s", error)
            return []

    def folder(self, name: str, version: str | None) -> Path:
        """Return a bundle's folder, of its newest version if `version` is None.

        It must lie inside the root, even by links. Raises `BundleError`.
        """
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

    def manifest(self, name: str, version: str) -> Manifest:
        """Read a bundle's manifest. Raises `BundleError`."""
        try:
            return Manifest.read(self.folder(name, version))
        except SpecError as error:
            raise BundleError(str(error)) from None


def versions(folder: Path) -> list[str]:
    """List the version names in a bundle's folder, oldest first."""
    if not folder.is_dir() or not _FOLDER_NAME.fullmatch(folder.name):
        return []
    found = [p.name for p in folder.iterdir() if _FOLDER_NAME.fullmatch(p.name) and (p / MANIFEST_FILE).is_file()]
    return sorted(found, key=_natural)


def _natural(version: str) -> list[tuple[int, str]]:
    """Make a sort key under which numbers inside a name compare as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)]
