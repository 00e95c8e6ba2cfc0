"""Find rows by the hashes of their ids.

Hashes are in order; a directory says where those begin that have the same upper bits.

Axis letters: n rows, k ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from models.contract.arrays import Ints

Hashes = NDArray[np.uint64]
Directory = NDArray[np.uint32]

_HASH_BITS: Final = 64
_MOST_BITS: Final = 31
_FEW: Final = 8


def hash_ids(ids: Sequence[str]) -> Hashes:
    """Hash ids [k] by xxh3-64 of their UTF-8."""
    try:
        return np.fromiter(map(xxh3_64_intdigest, map(str.encode, ids)), np.uint64, len(ids))
    except UnicodeEncodeError:  # Half a surrogate pair, which JSON can hold and no catalogue has.
        encoded = (text.encode("utf-8", "surrogatepass") for text in ids)
        return np.fromiter(map(xxh3_64_intdigest, encoded), np.uint64, len(ids))


def make_directory(hashes: Hashes) -> Directory:
    """Index ascending hashes [n] by their upper bits, about one row for each."""
    bits = min(max(len(hashes).bit_length(), 1), _MOST_BITS)
    upper = hashes >> np.uint64(_HASH_BITS - bits)
    return np.searchsorted(upper, np.arange(2**bits + 1, dtype=np.uint64)).astype(np.uint32)


def find_rows(hashes: Hashes, directory: Directory, wanted: Hashes) -> Ints:
    """Find the rows [k] of the hashes that are `wanted`, −1 where there is none."""
    if not len(hashes) or not len(wanted):
        return np.full(len(wanted), -1)
    bits = len(directory).bit_length() - 1
    upper = (wanted >> np.uint64(_HASH_BITS - bits)).view(np.int64)
    rows = directory[upper].astype(np.int64)
    sizes = directory[upper + 1] - rows
    most = int(sizes.max())
    # All at once: each wanted row is among the `sizes` that begin at `rows`, or is not there.
    while most > _FEW:
        half = sizes >> 1
        rows += half * (hashes[rows + half - 1] < wanted)
        sizes -= half
        most -= most >> 1
    # Few are left, and a step costs fewer array operations than a halving.
    for _ in range(most - 1):
        rows += hashes.take(rows, mode="clip") < wanted
    rows[hashes.take(rows, mode="clip") != wanted] = -1
    return rows
