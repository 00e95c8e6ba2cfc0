"""Find the bundles in one root folder, as ``<name>/<version>/bundle.json``.

What cannot be read is named in the log and left out; it hides nothing else. Names that begin with a dot are left out
without a word, so that an upload can have such a name until it is whole.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.contract.catalogue.manifest import CATALOGUE_FOLDER
from models.contract.manifest import MANIFEST_FILE, Manifest
from models.contract.serving import SCENES_FILE
from models.contract.spec import SpecError
from models.contract.versions import FOLDER_NAME
from service.bundles.model import BundleError
from service.folders import has_file, named_folders, versions_in
from service.options.bundles import NO_DEFAULT

_log = logging.getLogger(__name__)
_RESERVED: Final = {
    NO_DEFAULT: f"{NO_DEFAULT!r} is no name for a model: as the default model it means that there is none",
    CATALOGUE_FOLDER: f"{CATALOGUE_FOLDER!r} is no name for a model: it is the folder of catalogues of items",
}


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
        for folder in named_folders(self._root, listing.problems, but=(SCENES_FILE, CATALOGUE_FOLDER)):
            if folder.name == NO_DEFAULT:
                listing.problems.append(f"{str(folder)!r}: {_RESERVED[NO_DEFAULT]}")
            elif found := versions_in(folder, MANIFEST_FILE, listing.problems):
                listing.bundles[folder.name] = found
        if versions(self._root / CATALOGUE_FOLDER):
            listing.problems.append(f"{str(self._root / CATALOGUE_FOLDER)!r}: {_RESERVED[CATALOGUE_FOLDER]}")
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
        if name in _RESERVED:
            raise BundleError(f"model: {_RESERVED[name]}")
        if version is None:
            found = self.versions(name)
            if not found:
                raise BundleError(f"model: there is no bundle {name!r}")
            version = found[-1]
        folder = self._root / name / version
        try:
            if not folder.resolve().is_relative_to(self._root):
                raise BundleError(f"{name}/{version}: lies outside the bundles folder")
            if not has_file(folder, MANIFEST_FILE):
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
    return versions_in(folder, MANIFEST_FILE, []) if FOLDER_NAME.fullmatch(folder.name) else []
