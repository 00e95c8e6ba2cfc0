"""Define the messages of workers and engine processes, and pack arrays for them.

The worker greets, and the engine process welcomes it with the models that it runs. Then the worker sends jobs, each
with a number of its own, and gets an answer or a failure for each, in the order in which they are done. Points in time
are on `perf_counter`'s clock, which all processes of a host share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
from msgspec import Struct, msgpack

from models.contract.arrays import AnyArray, Arrays

PROTOCOL: Final = 1
"""Version of this module's messages. An engine process may be newer than a worker that was started before an update."""

_NUMBER: Final = re.compile(r"[<>|][biuf][0-9]{1,2}")
"""How NumPy writes types of truth values and numbers. It reads more than that, and evaluates some."""


class Key(Struct, array_like=True, frozen=True):
    """Name a model beyond doubt: `digest` is that of its bundle's files."""

    name: str
    version: str
    digest: str


class Served(Struct, array_like=True, frozen=True):
    """One model that the process runs.

    Its place in the welcome is its number in jobs.
    """

    key: Key
    provider: str
    largest_batch: int


class Packed(Struct, array_like=True, frozen=True):
    """One array: NumPy's name of its type, its shape, and its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Hello(Struct, tag=0, array_like=True, frozen=True):
    """The worker's first message."""

    protocol: int


class Run(Struct, tag=1, array_like=True, frozen=True):
    """Run the model of this number for one request."""

    id: int
    model: int
    deadline: float
    background: bool
    row: dict[str, Packed]


class Cancel(Struct, tag=2, array_like=True, frozen=True):
    """Drop a job, unless it runs already: its deadline came, or its client left."""

    id: int


class Welcome(Struct, tag=3, array_like=True, frozen=True):
    """The answer to a greeting of the right version."""

    protocol: int
    served: tuple[Served, ...]


class Refused(Struct, tag=4, array_like=True, frozen=True):
    """The answer to any other greeting; the connection ends."""

    reason: str


class Done(Struct, tag=5, array_like=True, frozen=True):
    """The outputs of one job, with the times of its run (see `engine.Answer`)."""

    id: int
    started: float
    seconds: float
    batch_size: int
    outputs: dict[str, Packed]


class Failed(Struct, tag=6, array_like=True, frozen=True):
    """One job has no outputs, and why."""

    id: int
    reason: str


class Results(Struct, tag=7, array_like=True, frozen=True):
    """All that has been done since the last time, and the backlog.

    At `free_at` all that waits will be done; `seen` is the last job of this worker that is part of that.
    """

    results: list[Done | Failed]
    seen: int
    free_at: float


FromWorker = Hello | Run | Cancel
ToWorker = Welcome | Refused | Results
decode_worker: Final = msgpack.Decoder(FromWorker).decode
decode_engine: Final = msgpack.Decoder(ToWorker).decode


def pack(arrays: Mapping[str, AnyArray]) -> dict[str, Packed]:
    """Pack named arrays of numbers or truth values. Raises `ValueError` for others."""
    return {name: _pack(array) for name, array in arrays.items()}


def _pack(array: AnyArray) -> Packed:
    name = array.dtype.str
    _dtype(name)
    return Packed(name, array.shape, array.tobytes())


def unpack(packed: Mapping[str, Packed]) -> Arrays:
    """Return read-only arrays over the bytes of a message.

    Raises `ValueError` where type, shape and bytes do not fit each other.
    """
    return {name: _unpack(one) for name, one in packed.items()}


def _unpack(packed: Packed) -> AnyArray:
    dtype = _dtype(packed.dtype)
    try:
        array: AnyArray = np.ndarray(packed.shape, dtype, packed.data)
    except (TypeError, OverflowError) as error:  # Too few bytes, or a size that no array has.
        raise ValueError(f"an array of shape {list(packed.shape)} cannot be made: {error}") from None
    if array.nbytes != len(packed.data) or array.shape != packed.shape:  # NumPy would guess a size of -1.
        raise ValueError(f"{len(packed.data)} bytes were sent for an array of {array.nbytes}")
    return array


@cache
def _dtype(name: str) -> np.dtype[np.generic]:
    """Return a type by its name. Raises `ValueError` for one that is no number."""
    if not _NUMBER.fullmatch(name):
        raise ValueError(f"arrays of type {name!r} are not passed on")
    try:
        return np.dtype(name)
    except TypeError:
        raise ValueError(f"{name!r} is no type of an array") from None
