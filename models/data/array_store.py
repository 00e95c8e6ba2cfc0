"""Collect encoded lists in arrays, in memory or, when these are large, on disk.

Arrays on disk are files without a name, which the system deletes with the process however it ends. Their pages count
as memory of the process while they are mapped, so whoever reads many rows gives them back with `release`.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Arrays
from models.files import named_if_full

LARGE: Final = 1 << 28
"""Bytes of all arrays together from which on they are kept on disk."""
_COPIED: Final = 1 << 16
"""Rows that are copied at once where arrays become wider."""


class ArrayStore:
    """Fill arrays of `rows` rows, chunk by chunk; large ones lie in `folder`.

    Chunks narrower than others are padded with the array's value in `blanks`, else with zeros.
    """

    def __init__(
        self, rows: int, folder: Path, *, on_disk: bool = False, blanks: Mapping[str, int] | None = None
    ) -> None:
        self._rows = rows
        self._folder = folder
        self._on_disk = on_disk
        self._blanks = blanks or {}
        self._filled = 0
        self._arrays: Arrays = {}

    def put(self, chunk: Arrays) -> None:
        """Append the rows of named arrays, padded to the widest chunk."""
        if not self._arrays:
            size = sum(values.nbytes // max(1, len(values)) for values in chunk.values()) * self._rows
            self._on_disk = self._on_disk or size >= LARGE
        count = len(next(iter(chunk.values())))
        for name, values in chunk.items():
            self._widen(name, values)
            place = (slice(self._filled, self._filled + count), *(slice(n) for n in values.shape[1:]))
            self._arrays[name][place] = values
        self._filled += count
        release(self._arrays.values())

    def arrays(self) -> Arrays:
        """Return the arrays, all rows of which must have been put."""
        assert self._filled == self._rows, f"{self._filled} of {self._rows} rows were put"
        return self._arrays

    def _widen(self, name: str, values: NDArray[Any]) -> None:
        """Make the array, or one as wide as `values` if it is narrower."""
        own = self._arrays.get(name)
        if own is None:
            self._arrays[name] = self._new(name, values.shape[1:], values.dtype)
            return
        shape = tuple(map(max, own.shape[1:], values.shape[1:]))
        if shape == own.shape[1:]:
            return
        wider = self._arrays[name] = self._new(name, shape, own.dtype)
        columns = tuple(slice(n) for n in own.shape[1:])
        for start in range(0, self._filled, _COPIED):
            rows = slice(start, min(start + _COPIED, self._filled))
            wider[(rows, *columns)] = own[rows]
            release((own, wider))

    def _new(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        full = (self._rows, *shape)
        array = _mapped(full, kind, self._folder) if self._on_disk else np.zeros(full, kind)
        blank = self._blanks.get(name, 0)
        for start in range(0, self._rows if blank else 0, _COPIED):
            array[start : start + _COPIED] = blank
            release([array])
        return array


def is_on_disk(array: NDArray[Any]) -> bool:
    """Tell whether an array is a file that an `ArrayStore` made."""
    return isinstance(_base(array), mmap.mmap)


def release(arrays: Iterable[NDArray[Any]]) -> None:
    """Give back the memory that arrays on disk took; they stay as they are."""
    for array in arrays:
        if isinstance(file := _base(array), mmap.mmap):
            file.madvise(mmap.MADV_DONTNEED)


def _base(array: NDArray[Any]) -> object:
    return array.base


def _mapped(shape: tuple[int, ...], kind: np.dtype[Any], folder: Path) -> NDArray[Any]:
    """Make an array of zeros that is a file without a name in `folder`."""
    size = int(np.prod(shape)) * kind.itemsize
    if not size:
        return np.zeros(shape, kind)
    folder.mkdir(parents=True, exist_ok=True)
    with named_if_full(folder), tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, not a broken process later
        return np.ndarray(shape, kind, buffer=mmap.mmap(file.fileno(), size))
