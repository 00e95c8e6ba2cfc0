"""Stack the arrays of single requests into one batch.

Requests differ in two sizes only: the embedding width and, for some models, the number of slots. Both may be padded
with zeros without changing an answer: zeros add nothing to a cosine, and a slot that is not valid is never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.contract.arrays import AnyArray

RequestArrays = Mapping[str, AnyArray]
"""Named arrays of one request, without a batch axis."""

BatchArrays = Mapping[str, AnyArray]
"""Named arrays; the first axis of each is the batch."""


def stack_rows(rows: Sequence[RequestArrays]) -> BatchArrays:
    """Stack the rows of one model, at least one, in their order."""
    if len(rows) == 1:
        return {name: array[None] for name, array in rows[0].items()}
    return {name: _stack([row[name] for row in rows]) for name in rows[0]}


def _stack(arrays: Sequence[AnyArray]) -> AnyArray:
    """Stack arrays, padded with zeros to the largest size of each axis."""
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return np.array(arrays)
    stacked = np.zeros((len(arrays), *map(max, zip(*shapes, strict=True))), arrays[0].dtype)
    for padded, array in zip(stacked, arrays, strict=True):
        padded[tuple(map(slice, array.shape))] = array
    return stacked
