"""Offer candidates that came as columns.

Axis letters: n candidates, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.contract.arrays import Floats, Floats32
from models.contract.scalars import Scalar


@dataclass(frozen=True, slots=True)
class ColumnData:
    """Hold the columns of n candidates, all of n rows; a missing number is NaN.

    `features` and `tags` hold arrays of numbers, or values as they came. `embeddings` [n, E] has NaN in the rows of
    candidates without one; None: no candidate has one.
    """

    ids: Sequence[str]
    scores: Mapping[str, Floats]
    price: Floats | None = None
    features: Mapping[str, Floats | Sequence[Scalar]] = field(default_factory=dict)
    embeddings: Floats | None = None
    tags: Mapping[str, Floats | Sequence[Scalar]] = field(default_factory=dict)


def decode_float32(text: str, *, width: int = 1) -> Floats32:
    """Decode base64 of little-endian float32 to [n], or [n, width] for a width above 1.

    Raises `ValueError` for what is no base64, another size, or not finite; the message says which.
    """
    raise NotImplementedError
