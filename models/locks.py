"""Lock a folder, so that one process at a time works in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_FILE: Final = ".lock"


class LockedError(ValueError):
    """Report a folder that another process works in, by folder and process."""


@contextmanager
def only_one(folder: Path, file: str = LOCK_FILE) -> Iterator[None]:
    """Hold `folder` for as long as the block runs; create it if need be.

    Work that may be a part of other work in the same folder has a lock `file` of its own.

    Raises `LockedError` if another process holds it. The system frees the lock when its process ends, however it ends,
    so one that was killed blocks nobody.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / file, f"{folder}: another process", "is working here"):
        yield


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold a file or folder that is to be written, while the block runs.

    The lock lies beside it. Raises `LockedError` as `only_one` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.with_name(f".{path.name}{LOCK_FILE}"), f"{path}: another process", "is writing it"):
        yield


@contextmanager
def _lock(path: Path, other: str, works: str) -> Iterator[None]:
    descriptor = _held(path, other, works)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _held(path: Path, other: str, works: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode("ascii", "replace") or "of unknown number"
            os.close(descriptor)
            raise LockedError(f"{other} ({owner}) {works}; wait for it") from None
        if _is_at(descriptor, path):
            os.truncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode("ascii"))
            return descriptor
        os.close(descriptor)  # its last owner removed the file before it was locked here


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
