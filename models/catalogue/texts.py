"""Number the texts of a field over many blocks.

Axis letters: m items, k rows of a block.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from models.contract.arrays import Ints
from models.contract.catalogue.segment import Texts


class TextColumn:
    """Collect a field of texts; each block comes with distinct texts of its own."""

    def __init__(self, m: int) -> None:
        self._codes = np.full(m, -1, np.int32)
        self._blocks = [pa.array([], pa.large_string())]
        self._size = 0

    def add(self, distinct: pa.Array, codes: Ints, places: Ints) -> None:
        """Put texts at their places: `codes` [k] number those in `distinct`, −1 for none."""
        self._codes[places] = np.where(codes < 0, -1, codes + self._size)
        self._blocks.append(distinct.cast(pa.large_string()))
        self._size += len(distinct)

    def finish(self) -> Texts:
        """Return the column with each text once."""
        joined = pa.concat_arrays(self._blocks).dictionary_encode()
        numbers = np.append(joined.indices.to_numpy(), -1).astype(np.int32)
        _, offsets, data = joined.dictionary.buffers()
        ends = np.frombuffer(offsets, np.int64)[joined.dictionary.offset :][: len(joined.dictionary) + 1]
        texts = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
        return Texts(numbers[self._codes], texts, ends[1:] - ends[0])
