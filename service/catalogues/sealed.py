"""Copy files into sealed memory, which nobody can change or shorten any more.

Any process of the same user can map such memory by the path of its owner's descriptor. It is freed once its owner has
closed that, and no process maps it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import weakref
from pathlib import Path
from typing import Final

if sys.platform == "linux":
    import fcntl

_BLOCK_BYTES: Final = 1 << 20


class SealedCopy:
    """Own one copy; dropping it closes the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    @property
    def path(self) -> Path:
        """Return the path by which other processes can open it while this one owns it."""
        return Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")

    def close(self) -> None:
        """Close the descriptor now; what is mapped stays."""
        self._close()


def copy_sealed(source: int, name: str) -> tuple[SealedCopy, str]:
    """Copy an open file; return the copy and its SHA-256. Raises `OSError`."""
    if sys.platform != "linux":  # The settings do not allow it then.
        raise OSError("this platform has no memory that can be sealed")
    copy = SealedCopy(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    try:
        digest = _copy(source, copy.descriptor)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(copy.descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        copy.close()
        raise
    return copy, digest


def _copy(source: int, target: int) -> str:
    """Copy all that is left to read of a file, and hash what was written."""
    digest = hashlib.sha256()
    while block := os.read(source, _BLOCK_BYTES):
        digest.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(target, rest) :]
    return digest.hexdigest()
