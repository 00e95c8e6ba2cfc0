"""Find the Parquet files of a source.

A source is a file, a folder of part files, or a URL of either. URLs are those of fsspec (``s3://``, ``gs://``,
``memory://``, …), which is imported only for them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from models.data.records import ListFileError
from models.stores import NoStoreError, open_store, store_problem

REMOTE_BLOCK: Final = 1 << 22
"""Bytes that are asked of a store at least, where a row group is too large to be fetched whole."""

_ONE_SLASH: Final = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)")
_NO_HOST: Final = ("file", "local")
"""Protocols whose URLs name no host, so that three slashes follow."""


@dataclass(frozen=True)
class Part:
    """Hold one file of a source.

    `name` is what messages call it. `store` is an fsspec file system, or None for a file of this machine, whose `path`
    is absolute.
    """

    name: str
    path: str
    store: Any = None

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file for reading bytes at any place. Raises `ListFileError`."""
        try:
            file = pa.OSFile(self.path) if self.store is None else self.store.open(self.path, "rb", cache_type="none")
        except Exception as error:  # Every store has errors of its own.
            raise _unreadable(self.name, error) from error
        with file:
            yield file

    def digest(self) -> str:
        """Compute the SHA-256 of the file, in hex."""
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(1 << 22):
                digest.update(block)
        return digest.hexdigest()


def source_name(source: Path | str) -> str:
    """Return a source as text.

    A URL that was made a path, as the command line does, has lost a slash, which is put back.
    """
    text = str(source)
    lost = _ONE_SLASH.match(text) if isinstance(source, Path) and not source.exists() else None
    if lost is None:
        return text
    slashes = ":///" if lost[1] in _NO_HOST else "://"
    return f"{lost[1]}{slashes}{text[lost.end() :]}"


def absolute_source(source: Path | str) -> str:
    """Name a source independently of the current folder.

    Links are not followed, since a source is known by its name, and URLs stay as they are.
    """
    name = source_name(source)
    return name if "://" in name else str(Path(name).absolute())


def local_path(source: Path | str) -> Path | None:
    """Return the path of a source, None for one of another machine."""
    name = source_name(source)
    protocol, separator, path = name.partition("://")
    if not separator:
        return Path(name)
    return Path(path) if protocol in _NO_HOST else None


def parts_of(source: Path | str) -> tuple[Part, ...]:
    """List the files of a source, ordered by name.

    Of a folder, all its files count but those hidden or beginning with an underscore (``_SUCCESS``). Raises
    `ListFileError` if there are none, or if the folder has folders in it.
    """
    name = source_name(source)
    return _remote_parts(name) if "://" in name else _local_parts(Path(name))


def source_digest(source: Path | str) -> str:
    """Compute the SHA-256 of a source, in hex.

    That of a folder is the digest of what ``sha256sum`` prints for its part files, in order: a line for each, with its
    digest, two blanks and its name.
    """
    parts = parts_of(source)
    if len(parts) == 1 and _is_file(source):
        return parts[0].digest()
    lines = (f"{part.digest()}  {part.path.rsplit('/', 1)[-1]}\n" for part in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_file(source: Path | str) -> bool:
    name = source_name(source)
    if "://" not in name:
        return Path(name).is_file()
    store, path = _store(name)
    return bool(store.isfile(path))


def _local_parts(path: Path) -> tuple[Part, ...]:
    if not path.is_dir():
        if not path.exists():
            raise ListFileError(f"{path}: cannot be read as Parquet: there is no such file or folder")
        return (Part(str(path), str(path.absolute())),)
    entries = {entry.name: entry.is_dir() for entry in path.iterdir()}
    return tuple(Part(str(path / name), str(path.absolute() / name)) for name in _chosen(str(path), entries))


def _remote_parts(url: str) -> tuple[Part, ...]:
    store, path = _store(url)
    try:
        store.invalidate_cache()
        if store.isfile(path):
            return (Part(url, path, store),)
        listed = store.ls(path, detail=True)
    except Exception as error:  # Every store has errors of its own.
        raise _unreadable(url, error) from error
    folder = path.rstrip("/")
    # Some stores list a folder as an empty object within itself.
    found = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in listed}
    entries = {name.rsplit("/", 1)[-1]: is_folder for name, is_folder in found.items() if name != folder}
    names = _chosen(url, entries)
    return tuple(Part(store.unstrip_protocol(f"{folder}/{name}"), f"{folder}/{name}", store) for name in names)


def _chosen(source: str, entries: dict[str, bool]) -> list[str]:
    """Choose the part files among a folder's entries; true stands for a folder."""
    if "_delta_log" in entries:
        raise ListFileError(f"{source}: is a Delta table, whose files may hold deleted rows; write it as plain Parquet")
    names = sorted(name for name in entries if not name.startswith((".", "_")))
    for name in names:
        if entries[name]:
            raise ListFileError(f"{source}: holds the folder {name!r}; part files must lie in one folder")
    if not names:
        raise ListFileError(f"{source}: is a folder without part files")
    return names


def _store(url: str) -> tuple[Any, str]:
    """Find the file system of a URL, and the path there."""
    try:
        return open_store(url)
    except NoStoreError as error:
        raise ListFileError(str(error)) from error
    except Exception as error:  # Every store has errors of its own.
        raise _unreadable(url, error) from error


def _unreadable(name: str, error: Exception) -> ListFileError:
    return ListFileError(f"{name}: cannot be read as Parquet: {store_problem(error)}")
