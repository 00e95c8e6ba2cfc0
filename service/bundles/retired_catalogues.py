"""Give back the memory of catalogues that were replaced, while requests go on.

Unmapping a large file whose pages have been used takes tens of milliseconds, and so does freeing a copy. Python would
do both wherever the last reference goes, with the interpreter locked. Here a thread does the long part without that.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import sys
from collections.abc import Callable, Iterable
from typing import Final

from models.contract.arrays import AnyArray
from models.contract.catalogue.catalogue import Catalogue
from service.inference.aside import run_aside

MAP_SECONDS: Final = 5.0
"""Longer than any request takes that began with a catalogue."""

COPY_SECONDS: Final = 2 * MAP_SECONDS
"""Copies go after the maps of them, in this process and in workers: whoever is last frees the memory."""

_DONT_NEED: Final = 4


class RetiredCatalogues:
    """Hold what has been replaced for a while, then drop it. Used from the event loop only."""

    def __init__(self) -> None:
        self._dropping: set[asyncio.Task[None]] = set()

    def unmap(self, catalogues: Iterable[Catalogue]) -> None:
        """Unmap catalogues; a request that still has one holds it itself."""
        held = list(catalogues)

        def unmap() -> None:
            for catalogue in held:
                _forget_pages(catalogue.arrays)
            held.clear()

        self._later(MAP_SECONDS, unmap)

    def drop(self, owner: object) -> None:
        """Drop what owns copies of files."""
        held = [owner]
        self._later(COPY_SECONDS, held.clear)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, self._begin, work)

    def _begin(self, work: Callable[[], None]) -> None:
        task = asyncio.create_task(run_aside(work))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)


def _forget_pages(arrays: Iterable[AnyArray]) -> None:
    """Take all pages out of maps; whoever reads one again gets it again."""
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise  # A call through ctypes leaves the interpreter to others.
    for array in arrays:
        base: object = array.base
        if isinstance(base, mmap.mmap):  # Anything else would lose its content.
            advise(*_span(array), _DONT_NEED)


def _span(array: AnyArray) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    """Return start and size of the pages of an array."""
    first = int(array.ctypes.data)
    start = first - first % mmap.PAGESIZE
    return ctypes.c_void_p(start), ctypes.c_size_t(first + array.nbytes - start)
