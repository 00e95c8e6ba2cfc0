"""Map arrays from `.npy` files, whose type, shape and size are checked."""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from models.contract.catalogue.manifest import CatalogueError

_MALFORMED: Final = (ValueError, SyntaxError, TokenError, RecursionError, MemoryError)
"""What NumPy raises for a header that is none, since it reads it as Python."""


def map_array(path: Path, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map an array; nothing but its header is read.

    The shape has None for a size that is not known. Raises `CatalogueError` with the `name` of the file if it is
    missing or holds anything else, or more, or less.
    """
    try:
        with path.open("rb") as file:
            found, start = _read_header(file, dtype, shape)
            size, needed = os.fstat(file.fileno()).st_size, start + math.prod(found) * dtype.itemsize
            if size != needed:
                raise ValueError(f"has {size} bytes, not {needed}")
            # An array keeps the map open for as long as it lives.
            mapped = mmap.mmap(file.fileno(), needed, access=mmap.ACCESS_READ)
            return np.ndarray(found, dtype, mapped, start)
    except OSError as error:
        raise CatalogueError(f"{name}: cannot be read: {error.strerror}") from error
    except _MALFORMED as error:
        raise CatalogueError(f"{name}: {error}") from error


def _read_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> tuple[tuple[int, ...], int]:
    """Return the shape in the header, and where the values start.

    Raises `ValueError` for another type or shape than is wanted.
    """
    if npy.read_magic(file) != (1, 0):
        raise ValueError("is not in version 1.0 of the .npy format")
    found, by_column, given = npy.read_array_header_1_0(file)
    if given != dtype or (by_column and len(found) > 1):
        raise ValueError(f"holds {given}{' by column' if by_column else ''}, not {dtype}")
    fits = len(found) == len(shape) and all(a in (None, b) for a, b in zip(shape, found, strict=False))
    if not fits or min(found, default=0) < 0:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"has the shape {list(found)}, not [{wanted}]")
    return found, file.tell()
