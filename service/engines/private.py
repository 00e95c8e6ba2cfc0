"""Keep sockets where no other user can reach them, and check who is connected."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LONGEST_PATH: Final = 103
"""Bytes of a socket's path on macOS; Linux takes 107."""

_BACKLOG: Final = 512


class NotPrivate(ConnectionError):
    """Another user could reach the socket, or is at its other end."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for sockets that only this user can enter; it is gone afterwards.

    Raises `OSError` where temporary files cannot be made, or their path is too long for a socket.
    """
    with tempfile.TemporaryDirectory(prefix="listwright-", ignore_cleanup_errors=True) as folder:
        longest = Path(folder) / "999999-99.sock"
        if len(os.fsencode(longest)) > _LONGEST_PATH:
            raise OSError(f"a socket in {folder} would have too long a path: let TMPDIR name a folder nearer the root")
        yield Path(folder)


def listen(path: Path) -> socket.socket:
    """Return a listening socket at `path`, in place of an earlier process's. Raises `OSError`."""
    check_private(path.parent)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def check_private(path: Path) -> None:
    """Raise `NotPrivate` unless `path` is this user's, and closed to all others.

    If it is not there that is an `OSError`.
    """
    found = path.lstat()
    if found.st_uid != os.geteuid():
        raise NotPrivate(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}, who runs this process")
    if not (stat.S_ISSOCK(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise NotPrivate(f"{path} is neither a socket nor a folder")
    if found.st_mode & _OTHERS:
        raise NotPrivate(f"{path} is open to other users: its mode is {stat.S_IMODE(found.st_mode):o}")


def check_peer(connected: socket.socket) -> None:
    """Raise `NotPrivate` if the process at the other end runs as another user.

    Where the system cannot tell, the folder's mode is what keeps others out.
    """
    if sys.platform != "linux":
        return
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    if user != os.geteuid():
        raise NotPrivate(f"the process at the other end of an engine's socket runs as user {user}")
