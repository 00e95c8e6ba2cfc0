"""Read a folder behind a URL, and try again where its store fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from models.contract.versions import FOLDER_NAME
from models.files import file_digest
from models.stores import NoStoreError, open_store, store_problem

FIRST_WAIT: Final = 1.0
"""Seconds between the first two tries; each further wait is twice as long."""

LONGEST_WAIT: Final = 30.0
"""Most seconds between two tries."""

_FINAL: Final = (NotADirectoryError, PermissionError)
"""Errors of a store that another try will not mend, beside a file that is not there."""

_REFUSED: Final = (401, 403, 404)
"""Statuses of HTTP that another try will not mend."""

T = TypeVar("T")


class FetchError(ValueError):
    """Report what cannot be fetched, by URL and file."""


class _WrongContentError(Exception):
    """A copy is not what its manifest says."""


@dataclass(frozen=True)
class Folder:
    """Read one folder of a store, or a file in it.

    `url` is what messages call it. `retries` says how often a failed read is tried again.
    """

    url: str
    path: str
    store: Any
    retries: int

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def under(self, name: str) -> Folder:
        """Return a folder or file inside it."""
        return Folder(f"{self.url}/{name}", f"{self.path}/{name}", self.store, self.retries)

    def has(self, name: str) -> bool:
        """Tell whether it holds this file. Raises `FetchError` if that cannot be found out."""
        inner = self.under(name)
        return inner._trying(inner._is_file)

    def folders(self) -> list[Folder]:
        """List the folders in it that have plain names, by name. Raises `FetchError`.

        Names that begin with a dot are left out: an upload has such a name until it is whole.
        """
        listed = self._trying(lambda: self.store.ls(self.path, detail=True))
        # A store may list the folder in itself, and call a link neither file nor folder.
        found = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in listed if entry["type"] != "file"}
        return [self.under(name) for name in sorted(found - {self.name}) if FOLDER_NAME.fullmatch(name)]

    def copy(self, name: str, target: Path, digest: str | None = None) -> None:
        """Copy one file, and compare it with its SHA-256 in hex. Raises `FetchError`."""
        inner = self.under(name)
        inner._trying(lambda: inner._copy(target, digest))

    def _is_file(self) -> bool:
        try:
            return bool(self.store.info(self.path)["type"] == "file")
        except NotADirectoryError:
            return False
        except FileNotFoundError as error:
            if _is_absent(error):
                return False
            raise

    def _copy(self, target: Path, digest: str | None) -> None:
        self.store.get_file(self.path, str(target))
        if not target.is_file():  # Some stores copy a folder of this name as a folder.
            raise _WrongContentError("is not a file")
        if digest is not None and (found := file_digest(target)) != digest:
            size = target.stat().st_size
            raise _WrongContentError(f"SHA-256 is {found} ({size} bytes), but the manifest says {digest}")

    def _trying(self, read: Callable[[], T]) -> T:
        """Read, and try again after a wait that doubles. Raises `FetchError`."""
        for attempt in range(self.retries + 1):
            try:
                return read()
            except Exception as error:  # Every store has errors of its own.
                final = isinstance(error, _FINAL) or _is_absent(error) or getattr(error, "status", None) in _REFUSED
                if final or attempt == self.retries:
                    tried = f" (tried {attempt + 1} times)" if attempt else ""
                    raise FetchError(f"{self.url}: {_problem(error)}{tried}") from error
            self.store.invalidate_cache()
            time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
        raise AssertionError("the last try returns or raises")


def open_folder(url: str, retries: int) -> Folder:
    """Open a folder by its URL, or by its path on this machine. Raises `FetchError`."""
    if "://" in url:
        _check_url(url)
    try:
        store, path = open_store(url.rstrip("/"))
        store.invalidate_cache()
    except NoStoreError as error:
        raise FetchError(str(error)) from error
    except Exception as error:  # Every store has errors of its own.
        raise FetchError(f"{url}: {store_problem(error)}") from error
    return Folder(url.rstrip("/"), path.rstrip("/"), store, retries)


def _check_url(url: str) -> None:
    """Raise `FetchError` for a URL with a secret or a query."""
    parts = urlsplit(url)
    if parts.password is not None:
        shown = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise FetchError(
            f"{shown}: may have no password, which every user could read; stores read variables of their own"
        )
    if parts.query:
        shown = url.partition("?")[0]
        raise FetchError(f"{shown}: may have no query, since files are looked for under the URL")


def _is_absent(error: Exception) -> bool:
    """Tell whether a store has answered that there is no such file.

    For HTTP, fsspec calls every failure so, and only the cause says what happened.
    """
    cause = error.__cause__
    other = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
    return isinstance(error, FileNotFoundError) and not other and getattr(cause, "status", 404) == 404


def _problem(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and not _is_absent(error) and isinstance(error.__cause__, Exception):
        return store_problem(error.__cause__)
    return store_problem(error)
