"""Write and open one segment of a catalogue; `manifest.py` defines its files.

Axis letters: n rows, C categorical columns, F number columns, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import AnyArray, Bools, Floats, Floats32, Ints
from models.contract.catalogue.lookup import Directory, Hashes
from models.contract.catalogue.manifest import CatalogueError, CatalogueField, CatalogueManifest, SegmentEntry
from models.contract.catalogue.mapping import map_array
from models.contract.scalars import Scalar

Opener = Callable[[str], Path]
"""Returns the path from which to map a file, given as ``<segment>/<file>``: its own, or one of a sealed copy."""

_MOST_BITS: Final = 32
_FLAGS: Final = (False, True, None)
"""Values of the codes 0, 1 and −1."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Hold a field of texts.

    `codes` int32 [n] number the `texts`, which stand one after the other; −1: missing. `ends` says where each ends.
    """

    codes: NDArray[np.int32]
    texts: NDArray[np.uint8]
    ends: NDArray[np.int64]


FieldValues = Floats | NDArray[np.int8] | Texts
"""Values of one field: numbers, flags or texts."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Hold the arrays of one segment; `deleted` and `embeddings` may be absent."""

    hashes: Hashes
    directory: Directory
    rows: NDArray[np.int32]
    numbers: Floats
    price: Floats
    embeddings: Floats32 | None
    deleted: Bools | None
    values: tuple[FieldValues, ...]

    def __len__(self) -> int:
        return len(self.hashes)


def write_segment(folder: Path, segment: Segment) -> None:
    """Write the arrays of a segment into its folder, which is made."""
    folder.mkdir(parents=True)
    for name, values in arrays_of(segment):
        np.save(folder / name, np.ascontiguousarray(values), allow_pickle=False)  # By row, as they are gathered.


def open_segment(entry: SegmentEntry, manifest: CatalogueManifest, opener: Opener) -> Segment:
    """Map the files of a segment.

    Raises `CatalogueError` naming a file of the wrong size, shape or type. Values are not read, so rows of the
    embedding table may be any number; that is left to the checksums.
    """
    files, spec = _Files(entry, opener), manifest.spec
    n, width = entry.rows, manifest.embedding_width
    return Segment(
        hashes=files.map("hashes.npy", np.uint64, (n,)),
        directory=files.directory(),
        rows=files.map("rows.npy", np.int32, (n, len(spec.item_categoricals))),
        numbers=files.map("numbers.npy", np.float64, (n, len(spec.own_item_numbers))),
        price=files.map("price.npy", np.float64, (n,)),
        embeddings=files.map("embeddings.npy", np.float32, (n, width)) if entry.has_embeddings else None,
        deleted=files.map("deleted.npy", np.bool_, (n,)) if entry.deleted else None,
        values=tuple(files.values(k, field) for k, field in enumerate(manifest.fields)),
    )


def read_values(values: FieldValues, rows: Sequence[int] | Ints) -> list[Scalar]:
    """Return values as they came for some rows; None where one is missing."""
    if isinstance(values, Texts):
        return _read_texts(values, rows)
    found = values[rows].tolist()
    if values.dtype == np.int8:
        return [_FLAGS[code] for code in found]
    return [None if number != number else number for number in found]


def _read_texts(values: Texts, rows: Sequence[int] | Ints) -> list[Scalar]:
    """Decode each text once, however many rows have it."""
    known: dict[int, str | None] = {-1: None}
    codes: list[int] = values.codes[rows].tolist()
    for code in codes:
        if code not in known:
            start = int(values.ends[code - 1]) if code else 0
            known[code] = values.texts[start : values.ends[code]].tobytes().decode()
    return [known[code] for code in codes]


def arrays_of(segment: Segment) -> list[tuple[str, AnyArray]]:
    """Name the arrays of a segment by their files."""
    found: list[tuple[str, AnyArray | None]] = [
        *((f"{name}.npy", getattr(segment, name)) for name in ("hashes", "directory", "rows", "numbers", "price")),
        *((f"{name}.npy", getattr(segment, name)) for name in ("embeddings", "deleted")),
    ]
    for k, values in enumerate(segment.values):
        if isinstance(values, Texts):
            parts = (("values", values.codes), ("texts", values.texts), ("ends", values.ends))
            found += [(f"{name}-{k}.npy", part) for name, part in parts]
        else:
            found.append((f"values-{k}.npy", values))
    return [(name, values) for name, values in found if values is not None]


class _Files:
    """Map the files of one segment."""

    def __init__(self, entry: SegmentEntry, opener: Opener) -> None:
        self._entry, self._opener = entry, opener

    def map(self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Map an array; the shape has None for a size that is not known."""
        full = f"{self._entry.name}/{name}"
        return map_array(self._opener(full), full, np.dtype(dtype), shape)

    def directory(self) -> Directory:
        """Map the directory, whose bounds must lead into the rows."""
        found: Directory = self.map("directory.npy", np.uint32, (None,))
        bits = len(found).bit_length() - 1
        if not 1 <= bits <= _MOST_BITS or len(found) != 2**bits + 1:
            self._fail("directory.npy", f"has {len(found)} bounds, not a power of two and one")
        if found[0] != 0 or found[-1] != self._entry.rows or np.any(found[1:] < found[:-1]):
            self._fail("directory.npy", f"its bounds do not rise from 0 to {self._entry.rows}")
        return found

    def values(self, k: int, field: CatalogueField) -> FieldValues:
        """Map the values of field k."""
        n = self._entry.rows
        if field.kind != "text":
            return self.map(f"values-{k}.npy", np.float64 if field.kind == "number" else np.int8, (n,))
        codes = self.map(f"values-{k}.npy", np.int32, (n,))
        texts = self.map(f"texts-{k}.npy", np.uint8, (None,))
        ends = self.map(f"ends-{k}.npy", np.int64, (None,))
        if (ends[-1] if len(ends) else 0) != len(texts):
            self._fail(f"ends-{k}.npy", f"does not end where texts-{k}.npy does")
        return Texts(codes, texts, ends)

    def _fail(self, name: str, problem: str) -> None:
        raise CatalogueError(f"{self._entry.name}/{name}: {problem}")
