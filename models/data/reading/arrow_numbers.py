"""Read Arrow columns of numbers as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from models.contract.arrays import Floats


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds numbers; booleans are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def floats(column: pa.Array) -> Floats:
    """Convert numbers or booleans to float64, NaN for null."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
