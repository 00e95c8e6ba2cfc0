"""Find the versions of a catalogue, and publish a new one by rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.catalogue.syncing import sync_files, sync_folders
from models.contract.catalogue.manifest import (
    CATALOGUE_FILE,
    FINGERPRINT_DIGITS,
    CatalogueError,
    CatalogueManifest,
    check_texts,
    fingerprint_folder,
)
from models.contract.spec import FeatureSpec
from models.contract.versions import FOLDER_NAME, in_order
from models.files import write_json
from models.locks import only_one


@dataclass(frozen=True)
class NewVersion:
    """Hold a version in the making.

    `folder` is to be filled, and becomes `target`; `newest` is the newest version before it.
    """

    folder: Path
    target: Path
    newest: Path | None

    def base(self) -> tuple[Path, CatalogueManifest]:
        """Return the newest version before it. Raises `CatalogueError` if there is none."""
        if self.newest is None:
            raise CatalogueError(
                f"{self.target.parent}: there is no version for this feature spec yet; build one first"
            )
        return self.newest, CatalogueManifest.read(self.newest)


def versions_in(folder: Path) -> list[str]:
    """List the versions in the folder of a fingerprint, oldest first."""
    found = folder.iterdir() if folder.is_dir() else iter(())
    return in_order([p.name for p in found if FOLDER_NAME.fullmatch(p.name) and (p / CATALOGUE_FILE).is_file()])


@contextmanager
def new_version(root: Path, spec: FeatureSpec, version: str | None) -> Iterator[NewVersion]:
    """Yield a version to fill, and publish it at the end.

    Nothing of it is left if the block fails, and all of it or nothing if the power does. It is made in a hidden folder
    of the root, where one process at a time works for one feature spec. Raises `CatalogueError` if the version is
    there already or would not be the newest, or if the spec cannot be written, `LockedError` if another process works.
    """
    check_texts(spec.to_json(), "the feature spec")
    target = fingerprint_folder(root, spec.fingerprint)
    work = root / f".{spec.fingerprint[:FINGERPRINT_DIGITS]}"
    with only_one(work):
        _remove_leftovers(work)
        known = versions_in(target)
        name = _chosen(target, known, version)
        folder = work / name
        folder.mkdir()
        try:
            newest = target / known[-1] if known else None
            yield NewVersion(folder, target / name, newest)
            sync_files(folder)
            target.mkdir(exist_ok=True)
            folder.rename(target / name)
            sync_folders(target, root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, manifest: CatalogueManifest) -> None:
    """Write `catalogue.json`, the last file of a version."""
    write_json(folder / CATALOGUE_FILE, manifest.to_json())


def _chosen(target: Path, known: list[str], version: str | None) -> str:
    """Return the version's name: the one asked for, or the next number. Raises `CatalogueError`."""
    name = str(1 + max((int(v) for v in known if v.isdecimal()), default=0)) if version is None else version
    if not FOLDER_NAME.fullmatch(name):
        raise CatalogueError(f"version {name!r}: is not a plain folder name")
    if os.path.lexists(target / name):
        raise CatalogueError(f"{target / name}: is there already, and what is published is never changed")
    if in_order([*known, name])[-1] != name:
        hint = "; say --version" if version is None else ""
        raise CatalogueError(f"version {name!r}: would not be the newest, which is {known[-1]!r}{hint}")
    return name


def _remove_leftovers(work: Path) -> None:
    """Delete what a process that was killed has left."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
