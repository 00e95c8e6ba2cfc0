"""Pack named arrays into bytes, and unpack them without a copy.

Rows of one model have the same few layouts: names, types and shapes. A layout is encoded once, and decoded once by
whoever gets it, so that a row costs little more than the copy of its bytes. Rows of one layout are stacked as bytes,
and the outputs of a batch are cut into rows as bytes, so that a batch costs a few calls for each array, not for each
array of each row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import numpy as np
from msgspec import MsgspecError, Struct, msgpack

from models.contract.arrays import AnyArray, Arrays
from service.inference.engine import BatchArrays, RequestArrays, stack_rows

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


@dataclass(frozen=True, slots=True)
class Place:
    """Say of an array its type and shape, and where its bytes begin and end."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int

    def view(self, data: bytes) -> AnyArray:
        """Return this array of one row, over the row's bytes."""
        return np.ndarray(self.shape, self.dtype, data, self.start)

    def column(self, table: AnyArray) -> AnyArray:
        """Take this array out of all rows of a table of bytes, the rows first."""
        column = np.ascontiguousarray(table[:, self.start : self.end])
        return column.view(self.dtype).reshape(len(table), *self.shape)


def pack(arrays: Mapping[str, AnyArray]) -> Packed:
    """Pack named arrays of numbers or truth values. Raises `ValueError` for others."""
    layout, order = _write_layout(tuple((name, array.dtype, array.shape) for name, array in arrays.items()))
    return Packed(layout, _join([arrays[name] for name in order]))


def pack_batch(outputs: Mapping[str, AnyArray], size: int) -> list[Packed]:
    """Pack each row of a batch's outputs.

    `size` is the first axis of all. Raises `ValueError` as `pack` does.
    """
    signature = tuple((name, array.dtype, array.shape[1:]) for name, array in outputs.items())
    layout, order = _write_layout(signature)
    if size == 1:  # Most runs without load are; nothing has to be cut.
        return [Packed(layout, _join([outputs[name] for name in order]))]
    shapes = {name: (size, math.prod(shape)) for name, _, shape in signature}
    pieces = [np.ascontiguousarray(outputs[name]).reshape(shapes[name]).view(np.uint8) for name in order]
    data = np.concatenate(pieces, axis=1).tobytes() if pieces else b""
    length = len(data) // size
    return [Packed(layout, data[i * length : (i + 1) * length]) for i in range(size)]


def unpack(packed: Packed) -> Arrays:
    """Return read-only arrays over the bytes of a message.

    Raises `ValueError` where layout and bytes make no sense.
    """
    return {name: place.view(packed.data) for name, place in _places(packed).items()}


class PackedRow(Mapping[str, AnyArray]):
    """Offer the arrays of a message, made when they are asked for.

    They are read-only, over its bytes. Raises `ValueError` where layout and bytes make no sense.
    """

    __slots__ = ("data", "layout", "places")

    def __init__(self, packed: Packed) -> None:
        self.layout, self.data, self.places = packed.layout, packed.data, _places(packed)

    def __getitem__(self, name: str) -> AnyArray:
        return self.places[name].view(self.data)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def stack_packed(rows: Sequence[RequestArrays]) -> BatchArrays:
    """Stack the rows of one model, those of one layout by their bytes.

    The batch is that of `stack_rows`.
    """
    first = rows[0]
    if len(rows) == 1 or not isinstance(first, PackedRow):
        return stack_rows(rows)
    pieces = [row.data for row in rows if isinstance(row, PackedRow) and row.layout == first.layout]
    if len(pieces) < len(rows):
        return stack_rows(rows)
    table = np.frombuffer(b"".join(pieces), np.uint8).reshape(len(rows), len(first.data))
    return {name: place.column(table) for name, place in first.places.items()}


def _join(pieces: Sequence[Any]) -> bytes:
    try:
        return b"".join(pieces)
    except (BufferError, TypeError):  # Some do not lie in one piece, or are empty.
        return b"".join([piece.tobytes() for piece in pieces])


def _places(packed: Packed) -> dict[str, Place]:
    """Return the places of the arrays. Raises `ValueError` where layout and bytes make no sense."""
    places, length = _read_layout(packed.layout)
    if len(packed.data) != length:
        raise ValueError(f"{len(packed.data)} bytes were sent for arrays of {length}")
    return places


@lru_cache(_LAYOUTS)
def _write_layout(signature: Signature) -> tuple[bytes, tuple[str, ...]]:
    """Return the encoded layout, and the names in the order of their bytes. Raises `ValueError`."""
    fields = [Field(name, dtype.str, shape) for name, dtype, shape in signature]
    for field in fields:
        _dtype(field.dtype)
    return msgpack.encode(fields), tuple(fields[i].name for i in _order(fields))


@lru_cache(_LAYOUTS)
def _read_layout(layout: bytes) -> tuple[dict[str, Place], int]:
    """Return where each array begins, and the bytes of all. Raises `ValueError`."""
    try:
        fields = _decode(layout)
    except MsgspecError as error:
        raise ValueError(f"a layout of arrays is not understood: {error}") from None
    order = _order(fields)
    sizes = [_bytes(fields[i]) for i in order]
    ends = dict(zip(order, accumulate(sizes), strict=True))
    places = {f.name: Place(_dtype(f.dtype), f.shape, ends[i] - _bytes(f), ends[i]) for i, f in enumerate(fields)}
    if len(places) < len(fields):
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
