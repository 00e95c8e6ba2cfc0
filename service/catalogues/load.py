"""Check a catalogue's files once, and open what was checked, in any process.

The checksums are read in one process. It remembers of each file which one it has read, by device, inode, size and time
of change, so that what another process maps is known to be the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CATALOGUE_FILE, FINGERPRINT_DIGITS, ITEMS_FILE, CatalogueError
from models.contract.catalogue.manifest import CatalogueManifest as Manifest
from service.catalogues.folder import Stamp
from service.catalogues.sealed import SealedCopy, copy_sealed

_NO_WAITING: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class CheckedFile(Struct, frozen=True):
    """Say where to map a file from, and which file that must be.

    `changed` is its time of change in nanoseconds.
    """

    path: str
    device: int
    inode: int
    size: int
    changed: int


class CheckedCatalogue(Struct, frozen=True):
    """Describe a catalogue to whoever opens it.

    `manifest` is in JSON, and the names of the files are ``<segment>/<file>``.
    """

    folder: str
    manifest: dict[str, Any]
    files: dict[str, CheckedFile]


@dataclass(frozen=True, slots=True)
class _SoundFile:
    """Hold a checked file, its SHA-256, and its copy if there is one."""

    checked: CheckedFile
    digest: str
    copy: SealedCopy | None = None


@dataclass(frozen=True)
class SoundCatalogue:
    """Hold a version whose files have been checked.

    Copies of them stay for as long as this does. `stamp` is what its folder was like before that (see
    `CatalogueFolder.stamp`).
    """

    manifest: Manifest
    checked: CheckedCatalogue
    files: Mapping[str, _SoundFile]
    stamp: Stamp

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint


def check_catalogue(folder: Path, stamp: Stamp, *, copy: bool, live: Iterable[SoundCatalogue] = ()) -> SoundCatalogue:
    """Check all files of one version, and open it once. Raises `CatalogueError` naming the file.

    With `copy` files are copied into sealed memory, and the copies are what is opened. What a `live` catalogue has
    already is not read again.
    """
    manifest = Manifest.read(folder)
    _check_place(manifest, folder)
    known = _Known(file for sound in live for file in sound.files.values())
    files = {}
    for segment in manifest.segments:
        for name, digest in segment.files.items():
            where = f"{segment.name}/{name}"
            try:
                files[where] = file = _check_file(folder, where, digest, known, copy=copy and name != ITEMS_FILE)
            except (OSError, RuntimeError) as error:  # Python 3.11 raises RuntimeError for links that lead in a circle.
                raise CatalogueError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
            known.add(file)
    checked = CheckedCatalogue(str(folder), manifest.to_json(), {name: file.checked for name, file in files.items()})
    open_checked(checked)
    return SoundCatalogue(manifest, checked, files, stamp)


class _Known:
    """Find files that were checked before."""

    def __init__(self, files: Iterable[_SoundFile]) -> None:
        self._copies: dict[str, _SoundFile] = {}
        self._files: dict[tuple[str, tuple[int, ...]], _SoundFile] = {}
        for file in files:
            self.add(file)

    def add(self, file: _SoundFile) -> None:
        """Note one more."""
        if file.copy is not None:
            self._copies[file.digest] = file
        else:
            self._files[file.digest, _identity(file.checked)] = file

    def find(self, digest: str, found: tuple[int, ...], *, copy: bool) -> _SoundFile | None:
        """Return a copy of the same content, or this very file, if there is one."""
        if not copy:
            return self._files.get((digest, found))
        same = self._copies.get(digest)
        return None if same is None or same.checked.size != found[2] else same


def _check_place(manifest: Manifest, folder: Path) -> None:
    """Check that a catalogue stands under its own fingerprint and version. Raises `CatalogueError`."""
    own = f"{manifest.fingerprint[:FINGERPRINT_DIGITS]}/{manifest.version}"
    place = f"{folder.parent.name}/{folder.name}"
    if own != place:
        raise CatalogueError(f"{CATALOGUE_FILE}: is that of {own}, but stands in {place}")


def _check_file(folder: Path, where: str, digest: str, known: _Known, *, copy: bool) -> _SoundFile:
    """Compare one file with its checksum. Raises `CatalogueError` or `OSError`."""
    path = folder / where
    if not path.resolve().is_relative_to(folder.parents[1].resolve()):
        raise CatalogueError(f"{where}: lies outside the folder of catalogues")
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise CatalogueError(f"{where}: is not a regular file")
        if (same := known.find(digest, _found(before), copy=copy)) is not None:
            return same if copy else _SoundFile(_describe(path, before), digest)
        sound = _read_file(path, descriptor, before, where, copy=copy)
        if _found(os.fstat(descriptor)) != _found(before):
            raise CatalogueError(f"{where}: has changed while it was read")
    finally:
        os.close(descriptor)
    if sound.digest != digest:
        found = f"SHA-256 is {sound.digest} ({before.st_size} bytes)"
        raise CatalogueError(f"{where}: {found}, but the manifest says {digest}")
    return sound


def _read_file(path: Path, descriptor: int, found: os.stat_result, where: str, *, copy: bool) -> _SoundFile:
    """Hash a file, and copy it if wanted. Raises `OSError`."""
    if copy:
        own, digest = copy_sealed(descriptor, f"listwright:{where}")
        return _SoundFile(_describe(own.path, os.fstat(own.descriptor)), digest, own)
    with open(descriptor, "rb", closefd=False) as file:
        return _SoundFile(_describe(path, found), hashlib.file_digest(file, "sha256").hexdigest())


def open_checked(checked: CheckedCatalogue) -> Catalogue:
    """Open a catalogue that was checked, perhaps by another process. Raises `CatalogueError`.

    Each file is compared with the one that was checked before it is mapped and again after, so that none can have come
    in between.
    """
    opened: dict[str, CheckedFile] = {}

    def opener(name: str) -> Path:
        if name not in checked.files:
            raise CatalogueError(f"{name}: has no checksum in the manifest")
        opened[name] = file = checked.files[name]
        _compare(name, file)
        return Path(file.path)

    try:
        catalogue = Catalogue(Manifest.from_json(checked.manifest), Path(checked.folder), opener)
        for name, file in opened.items():
            _compare(name, file)
    except CatalogueError:
        raise
    except (OSError, ValueError) as error:
        raise CatalogueError(f"cannot be opened: {error}") from None
    return catalogue


def _compare(name: str, file: CheckedFile) -> None:
    """Raise `CatalogueError` if a file is another one than that which was checked."""
    try:
        found = Path(file.path).stat()
    except OSError as error:
        raise CatalogueError(f"{name}: cannot be read: {error.strerror}") from None
    if _found(found) != _identity(file):
        raise CatalogueError(f"{name}: has been replaced or changed since it was checked")


def _describe(path: Path, found: os.stat_result) -> CheckedFile:
    return CheckedFile(str(path), *_found(found))


def _found(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _identity(file: CheckedFile) -> tuple[int, int, int, int]:
    return file.device, file.inode, file.size, file.changed
