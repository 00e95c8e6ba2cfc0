"""Write files through to the disk, so that a power cut takes nothing published."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_NOT_SUPPORTED: Final = (errno.EINVAL, errno.ENOTSUP)
"""What some network file systems answer for a folder; they keep names by means of their own."""


def sync_files(folder: Path) -> None:
    """Write all new files below a folder, and all folders, through to the disk.

    A file with other links is one of an older version, which was synced when that was published.
    """
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_file() and path.stat().st_nlink == 1:
            _sync(path)
    sync_folders(*(path for path in paths if path.is_dir()), folder)


def sync_folders(*folders: Path) -> None:
    """Write the names in these folders through to the disk, where it can be done."""
    for folder in folders:
        try:
            _sync(folder)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
