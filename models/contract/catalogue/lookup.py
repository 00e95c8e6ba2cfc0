"""Find rows by id: hashes in order, and a directory of where their upper bits begin.

Axis letters: n rows, k ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Ints

Hashes = NDArray[np.uint64]
Directory = NDArray[np.uint32]


def hash_ids(ids: Sequence[str]) -> Hashes:
    """Hash ids [k] by xxh3-64 of their UTF-8."""
    raise NotImplementedError


def make_directory(hashes: Hashes) -> Directory:
    """Index ascending hashes [n] by their upper bits, about one row for each."""
    raise NotImplementedError


def find_rows(hashes: Hashes, directory: Directory, wanted: Hashes) -> Ints:
    """Find the rows [k] of the hashes that are `wanted`, −1 where there is none."""
    raise NotImplementedError
