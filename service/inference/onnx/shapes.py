"""Choose the fixed shapes that a device runs, and pad batches to them.

A captured CUDA graph replays one shape at fixed addresses, so every free size is rounded up to one of a few. Rows are
filled up with copies of the last one, a request that the graph can certainly answer. The other free axes are filled up
with zeros: zeros behind an embedding change no cosine, and a candidate slot of zeros is an empty one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray
from models.contract.tensor_specs import TensorSpec
from service.inference.engine import BatchArrays

WIDTHS: Final = (16, 64, 128)
"""Embedding widths that are run and captured before a model serves."""

SLOTS: Final = (32, 128, 256)
"""Likewise for any other free axis, which is the number of slots of a graph that takes any."""

Buffers = Mapping[str, AnyArray]


@dataclass(frozen=True, slots=True)
class Shape:
    """A padded shape: `rows` of the batch, and the size of each free axis."""

    rows: int
    free: tuple[tuple[str, int], ...] = ()


class Shapes:
    """Hold the fixed shapes of one graph, and fit batches into them."""

    def __init__(self, inputs: Sequence[TensorSpec], largest_batch: int) -> None:
        """Take the graph's `inputs`: axis 0 is the batch, named axes are free."""
        self._inputs = tuple(inputs)
        self.rows = batch_sizes(largest_batch)
        axes = {a for t in inputs for a in t.shape[1:] if isinstance(a, str)}
        slots = {a for t in inputs if t.name != "embeddings" for a in t.shape[1:]}
        self._axes = {axis: SLOTS if axis in slots else WIDTHS for axis in sorted(axes)}

    def fit(self, batch: BatchArrays) -> Shape:
        """Return the smallest shape for `batch`. Raises `ValueError` for too many rows."""
        rows = len(next(iter(batch.values())))
        if rows > self.rows[-1]:
            raise ValueError(f"a batch of {rows} rows is larger than the largest, {self.rows[-1]}")
        sizes = dict.fromkeys(self._axes, 0)
        for tensor in self._inputs:
            for size, axis in zip(batch[tensor.name].shape, tensor.shape, strict=True):
                if axis in sizes:
                    sizes[str(axis)] = max(size, sizes[str(axis)])
        padded_rows = next(size for size in self.rows if size >= rows)
        return Shape(padded_rows, tuple((axis, padded(size, self._axes[axis])) for axis, size in sizes.items()))

    def to_warm(self) -> Iterator[Shape]:
        """Yield every shape to warm, the one that takes most memory first."""
        for sizes in itertools.product(*(sorted(of_axis, reverse=True) for of_axis in self._axes.values())):
            for rows in reversed(self.rows):
                yield Shape(rows, tuple(zip(self._axes, sizes, strict=True)))

    def sizes(self, tensor: TensorSpec, shape: Shape) -> tuple[int, ...]:
        """Return the tensor's own size in this shape."""
        free = dict(shape.free)
        return shape.rows, *(free[a] if isinstance(a, str) else a for a in tensor.shape[1:])

    def pad(self, batch: BatchArrays, into: Buffers) -> None:
        """Write `batch` into `into`, buffers of a shape that holds it; overwrites an earlier batch."""
        for tensor in self._inputs:
            array, buffer = batch[tensor.name], into[tensor.name]
            rows = len(array)
            inner = tuple(slice(size) for size in array.shape[1:])
            # An earlier batch may have been wider: its values past this one's width must go.
            if array.shape[1:] != buffer.shape[1:]:
                buffer[...] = np.zeros((), buffer.dtype)
            buffer[(slice(rows), *inner)] = array
            buffer[(slice(rows, None), *inner)] = array[-1:]  # Rows past the batch repeat its last one.


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … and `largest`."""
    powers = itertools.takewhile(lambda size: size < largest, (1 << i for i in itertools.count()))
    return (*powers, largest)


def padded(size: int, usual: Sequence[int]) -> int:
    """Return the least `usual` size that fits, or the next power of two."""
    return next((usual_size for usual_size in usual if usual_size >= size), 1 << (size - 1).bit_length())
