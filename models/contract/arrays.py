"""Name the types of arrays that signatures share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

AnyFloats = NDArray[np.floating]
"""Floats of any precision."""

AnyArray = NDArray[np.generic]
"""An array of any type of element."""

Arrays = dict[str, AnyArray]
"""Arrays by name."""
