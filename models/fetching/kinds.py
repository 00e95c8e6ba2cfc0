"""Read the manifests of bundles and catalogues alike: where a version stands, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.contract.catalogue.manifest import (
    CATALOGUE_FILE,
    CATALOGUE_FOLDER,
    FINGERPRINT_DIGITS,
    CatalogueManifest,
)
from models.contract.manifest import MANIFEST_FILE, Manifest
from models.contract.spec import SpecError
from models.contract.versions import FOLDER_NAME


@dataclass(frozen=True)
class Listed:
    """Hold what a manifest lists.

    `place` is the folder of the version under that of its kind, `files` maps paths in it to SHA-256, and `content` is
    the whole manifest.
    """

    place: tuple[str, str]
    files: Mapping[str, str]
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """Describe bundles or catalogues.

    `file` is the manifest's, `folder` where they stand in a folder of bundles. `read` raises `SpecError`.
    """

    file: str
    folder: str
    read: Callable[[Path], Listed]


def _read_bundle(folder: Path) -> Listed:
    """Read `bundle.json`. Raises `SpecError` naming the key."""
    manifest = Manifest.read(folder)
    for key, value in (("name", manifest.name), ("version", manifest.version)):
        _check_name(f"{folder / MANIFEST_FILE}: bundle.{key}", value)
    if manifest.name == CATALOGUE_FOLDER:
        raise SpecError(f"{folder / MANIFEST_FILE}: bundle.name: {CATALOGUE_FOLDER!r} is the folder of catalogues")
    for name in manifest.files:
        _check_name(f"{folder / MANIFEST_FILE}: bundle.files", name)
    return Listed((manifest.name, manifest.version), manifest.files, manifest.to_json())


def _read_catalogue(folder: Path) -> Listed:
    """Read `catalogue.json`, which checks every name in it. Raises `SpecError` naming the key."""
    manifest = CatalogueManifest.read(folder)
    files = {f"{segment.name}/{name}": d for segment in manifest.segments for name, d in segment.files.items()}
    return Listed((manifest.fingerprint[:FINGERPRINT_DIGITS], manifest.version), files, manifest.to_json())


def _check_name(where: str, name: str) -> None:
    """Raise `SpecError` for a name that could lead out of a folder."""
    if not FOLDER_NAME.fullmatch(name):
        raise SpecError(f"{where}: {name[:64]!r} is not a plain name: letters, digits, '.', '_' and '-' only")


KINDS: Final = (
    Kind(MANIFEST_FILE, ".", _read_bundle),
    Kind(CATALOGUE_FILE, CATALOGUE_FOLDER, _read_catalogue),
)
