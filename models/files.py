"""Write files whole or not at all, and compute digests of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

WORK: Final = "work"
"""How the name of a folder ends that holds other files while a partial one is filled."""
_PARTIAL: Final = "partial"
_FORMER: Final = "former"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a partial file to write to, and rename it to `path` at the end.

    It lies beside `path` and is deleted if the block fails. Where there is no more room, the `OSError` names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{_writer()}.{_PARTIAL}")
    try:
        with named_if_full(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def named_if_full(path: Path) -> Iterator[None]:
    """Name `path` in an `OSError` of a full disk.

    Where writing to an open file fails, it names none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a partial folder to fill, and rename it to `path` at the end.

    It lies beside `path` and is deleted if the block fails. A folder that was there is moved aside first and deleted
    when the new one stands. Folders that killed processes of this machine left beside `path` are deleted as well, so
    only one process at a time may write it (`locks.only_writer`). Errors are those of `whole_file`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{_writer()}.{end}") for end in (_PARTIAL, _FORMER))
    _delete_leftovers(path, _PARTIAL, WORK)
    partial.mkdir()
    try:
        with named_if_full(path):
            yield partial
        if path.exists():
            _delete_leftovers(path, _FORMER)
            path.replace(former)
        try:
            partial.replace(path)
        except OSError:
            if former.exists():
                former.replace(path)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _delete_leftovers(path, _FORMER)


def _delete_leftovers(path: Path, *ends: str) -> None:
    """Delete folders that ended processes of this host left beside `path`.

    Those of this process's own name are among them, since in a container each start of a command may get the host name
    and number of the one before.
    """
    name = re.compile(rf"\.{re.escape(f'{path.name}.{socket.gethostname()}')}\.([1-9]\d{{0,8}})\.({'|'.join(ends)})")
    for folder in path.parent.iterdir():
        found = name.fullmatch(folder.name)
        if found and (int(found[1]) == os.getpid() or not _runs(int(found[1]))):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # one of another user
        pass
    return True


def _writer() -> str:
    """Name this process among those of all machines that share a folder."""
    return f"{socket.gethostname()}.{os.getpid()}"


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Leave the block on SIGTERM as on Ctrl-C, so that partial files are deleted."""
    received = False

    def stop(number: int, _: object) -> None:
        nonlocal received
        received = True
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as left:
        if received:  # Native code that the signal came upon may have raised an exit of its own, as Ray's does.
            left.code = 128 + signal.SIGTERM
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
