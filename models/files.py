"""Write files whole or not at all, and compute digests of files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a partial file to write to, and rename it to `path` at the end.

    It lies beside `path` and is deleted if the block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{_writer()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a partial folder to fill, and rename it to `path` at the end.

    It lies beside `path` and is deleted if the block fails. A folder that was there is moved aside first and deleted
    when the new one stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{_writer()}.{end}") for end in ("partial", "former"))
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.replace(former)
        try:
            partial.replace(path)
        except OSError:
            if former.exists():
                former.replace(path)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)


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
