"""Pack named arrays into bytes, and unpack them without a copy.

Rows of one model have the same few layouts: names, types and shapes. A layout is encoded once, and decoded once by
whoever gets it, so that a row costs little more than the copy of its bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import numpy as np
from msgspec import MsgspecError, Struct, msgpack

from models.contract.arrays import AnyArray, Arrays

_NUMBER: Final = re.compile(r"[<>|][biuf][0-9]{1,2}")
"""How NumPy writes types of truth values and numbers. It reads more than that, and evaluates some."""

_LAYOUTS: Final = 4096
"""So many are kept: a model of any number of candidates and of embeddings of any width has several thousand."""

_MOST_AXES: Final = 32
_LONGEST_AXIS: Final = 2**31


class Packed(Struct, array_like=True, frozen=True):
    """Named arrays: their layout, and the bytes of all of them."""

    layout: bytes
    data: bytes


class Field(Struct, array_like=True, frozen=True):
    """One array of a layout: its name, NumPy's name of its type, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


_decode: Final = msgpack.Decoder(tuple[Field, ...]).decode

Signature = tuple[tuple[str, "np.dtype[Any]", tuple[int, ...]], ...]
Place = tuple[str, "np.dtype[Any]", tuple[int, ...], int]
"""Name, type and shape of an array, and where its bytes begin."""


def pack(arrays: Mapping[str, AnyArray]) -> Packed:
    """Pack named arrays of numbers or truth values. Raises `ValueError` for others."""
    layout, order = _write_layout(tuple((name, array.dtype, array.shape) for name, array in arrays.items()))
    pieces: list[Any] = [arrays[name] for name in order]
    try:
        return Packed(layout, b"".join(pieces))
    except (BufferError, TypeError):  # Some do not lie in one piece, or are empty.
        return Packed(layout, b"".join([piece.tobytes() for piece in pieces]))


def unpack(packed: Packed) -> Arrays:
    """Return read-only arrays over the bytes of a message.

    Raises `ValueError` where layout and bytes make no sense.
    """
    places, length = _read_layout(packed.layout)
    data = packed.data
    if len(data) != length:
        raise ValueError(f"{len(data)} bytes were sent for arrays of {length}")
    return {name: np.ndarray(shape, dtype, data, start) for name, dtype, shape, start in places}


@lru_cache(_LAYOUTS)
def _write_layout(signature: Signature) -> tuple[bytes, tuple[str, ...]]:
    """Return the encoded layout, and the names in the order of their bytes. Raises `ValueError`."""
    fields = [Field(name, dtype.str, shape) for name, dtype, shape in signature]
    for field in fields:
        _dtype(field.dtype)
    return msgpack.encode(fields), tuple(fields[i].name for i in _order(fields))


@lru_cache(_LAYOUTS)
def _read_layout(layout: bytes) -> tuple[tuple[Place, ...], int]:
    """Return where each array begins, and the bytes of all. Raises `ValueError`."""
    try:
        fields = _decode(layout)
    except MsgspecError as error:
        raise ValueError(f"a layout of arrays is not understood: {error}") from None
    order = _order(fields)
    sizes = [_bytes(fields[i]) for i in order]
    starts = dict(zip(order, accumulate(sizes, initial=0), strict=False))
    places = tuple((f.name, _dtype(f.dtype), f.shape, starts[i]) for i, f in enumerate(fields))
    if len({field.name for field in fields}) < len(fields):
        raise ValueError("a layout names an array twice")
    return places, sum(sizes)


def _order(fields: tuple[Field, ...] | list[Field]) -> list[int]:
    """Return the fields in the order of their bytes.

    Those of the largest numbers come first, so that all are aligned.
    """
    return sorted(range(len(fields)), key=lambda i: -_dtype(fields[i].dtype).itemsize)


def _bytes(field: Field) -> int:
    """Return the bytes of an array. Raises `ValueError` for a shape that none has."""
    if len(field.shape) > _MOST_AXES or not all(0 <= size < _LONGEST_AXIS for size in field.shape):
        raise ValueError(f"no array has the shape {list(field.shape)}")
    return math.prod(field.shape) * _dtype(field.dtype).itemsize


@lru_cache(_LAYOUTS)
def _dtype(name: str) -> np.dtype[Any]:
    """Return a type by its name. Raises `ValueError` for one that is no number."""
    if not _NUMBER.fullmatch(name):
        raise ValueError(f"arrays of type {name!r} are not passed on")
    try:
        return np.dtype(name)
    except TypeError:
        raise ValueError(f"{name!r} is no type of an array") from None
