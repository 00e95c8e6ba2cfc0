"""Compile the client at its first use; needs Linux and a C compiler.

The program is called ``openloop-<hash of its source>``, so a changed source is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
_SOURCES: Final = ("openloop.c", "pool.h", "answer.h", "hiccup.h", "options.h")
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-pthread")


class ClientUnavailable(RuntimeError):
    """Report that there is no client on this machine; the message names the missing part."""


def why_unavailable() -> str | None:
    """Return the reason why the client cannot be built here, or None."""
    if sys.platform != "linux":
        return "the open-loop client needs Linux (epoll, timerfd)"
    if _compiler() is None:
        return "the open-loop client needs a C compiler: install cc (Debian: apt-get install gcc libc6-dev) or set CC"
    return None


def client_program(folder: Path | None = None) -> Path:
    """Return the client, compiled unless it is there. Raises `ClientUnavailable`."""
    if reason := why_unavailable():
        raise ClientUnavailable(reason)
    digest = hashlib.sha256("\0".join(_FLAGS).encode())
    for name in _SOURCES:
        digest.update((_FOLDER / name).read_bytes())
    program = (folder or _cache_folder()).resolve() / f"openloop-{digest.hexdigest()[:16]}"
    if not program.exists():
        _compile(program)
    return program


def _compile(program: Path) -> None:
    try:
        program.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClientUnavailable(f"the open-loop client cannot be built: {error}; set XDG_CACHE_HOME") from error
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        partial = Path(scratch) / program.name
        command = [str(_compiler()), *_FLAGS, "-o", str(partial), str(_FOLDER / _SOURCES[0]), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ClientUnavailable(f"{' '.join(command)} failed:\n{result.stderr}")
        partial.replace(program)


def _cache_folder() -> Path:
    """Return this program's folder among the user's caches: an installed package may not be writable."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise ClientUnavailable(f"the open-loop client cannot be built: {error} Set XDG_CACHE_HOME.") from error
    return base / "listwright"


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))
