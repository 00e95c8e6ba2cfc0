"""Write and open one segment of a catalogue; `manifest.py` defines its files.

Axis letters: n rows, C categorical columns, F number columns, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Bools, Floats, Floats32
from models.contract.catalogue.lookup import Directory, Hashes
from models.contract.catalogue.manifest import CatalogueManifest, SegmentEntry
from models.contract.scalars import Scalar

Opener = Callable[[str], Path]
"""Returns the path from which to map a file, given as ``<segment>/<file>``: its own, or one of a sealed copy."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Hold a field of texts: `codes` int32 [n], −1 where missing, and the texts end to end with their ends."""

    codes: NDArray[np.int32]
    texts: NDArray[np.uint8]
    ends: NDArray[np.int64]


FieldValues = Floats | NDArray[np.int8] | Texts
"""Values of one field: numbers, flags or texts."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Hold the arrays of one segment, in memory or mapped; `deleted` and `embeddings` may be absent."""

    hashes: Hashes
    directory: Directory
    rows: NDArray[np.int32]
    numbers: Floats
    price: Floats
    embeddings: Floats32 | None
    deleted: Bools | None
    values: tuple[FieldValues, ...]


def write_segment(folder: Path, segment: Segment) -> None:
    """Write the arrays of a segment into its folder, which is made."""
    raise NotImplementedError


def open_segment(entry: SegmentEntry, manifest: CatalogueManifest, opener: Opener) -> Segment:
    """Map the files of a segment. Raises `CatalogueError` naming a file of the wrong size, shape or type."""
    raise NotImplementedError


def read_values(values: FieldValues, rows: Sequence[int]) -> list[Scalar]:
    """Return values as they came for some rows; None where one is missing."""
    raise NotImplementedError
