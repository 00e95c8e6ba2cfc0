"""NumPy arrays on disk, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.files import whole_file


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as ``.npy``."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write named arrays as ``.npz``."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
