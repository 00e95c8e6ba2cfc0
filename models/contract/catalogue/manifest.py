"""Define `catalogue.json`, which describes one version of a catalogue of items.

A catalogue is encoded for one feature spec, whose fingerprint it bears, as a bundle does. It stands at
``<root>/<first 12 digits of the fingerprint>/<version>/``. Its folder is published by rename, and never changed.

The folder holds `catalogue.json` and a folder per segment. Later segments win over earlier ones: a base, then deltas.
A segment holds n items, one per row, in the order of their ids' hashes:

- ``hashes.npy`` uint64 [n], ascending: xxh3-64 of the id in UTF-8.
- ``directory.npy`` uint32 [2^b + 1]: the first row whose hash's upper b bits are at least the index.
- ``rows.npy`` int32 [n, C]: rows of the embedding table, in the order of `Encoder.item_columns`; −1: missing.
- ``numbers.npy`` float64 [n, F]: the spec's own item numbers, in its order, without the price; NaN: missing.
- ``price.npy`` float64 [n]: NaN: missing.
- ``embeddings.npy`` float32 [n, E]: unit rows; zeros: missing. Absent if no item has one.
- ``deleted.npy`` bool [n]: tombstones. Absent in a segment without any. A deleted row has nothing else.
- ``values-<k>.npy`` for field k of `fields`, its values as they came: float64 (NaN: missing) for a ``number``, int8
  (−1: missing) for a ``flag``, int32 codes (−1: missing) for a ``text``, whose texts are in ``texts-<k>.npy`` (uint8,
  UTF-8, one after the other) and ``ends-<k>.npy`` (int64: where each text ends). `fields` only grows at its end: a
  segment lacks the files of fields that came after it, and knows nothing of them.
- ``items.parquet``: the items as they came; no server reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from models.contract.spec import SpecError

CATALOGUE_FILE: Final = "catalogue.json"
ITEMS_FILE: Final = "items.parquet"
FORMAT: Final = 1
FINGERPRINT_DIGITS: Final = 12
"""So many digits of the fingerprint name the folder of a spec's versions."""

MOST_SEGMENTS: Final = 16
"""Most segments of a version; an update that would make more compacts them."""

FieldKind = Literal["text", "number", "flag"]


class CatalogueError(SpecError):
    """Report a catalogue that may not serve; the message names the file or key."""


@dataclass(frozen=True, slots=True)
class CatalogueField:
    """Define one field of items; whether the spec has it does not matter."""

    name: str
    kind: FieldKind


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """Describe a segment: its folder's name, its rows, how many are tombstones, and its files' SHA-256 by name."""

    name: str
    rows: int
    deleted: int
    files: dict[str, str]


@dataclass(frozen=True)
class CatalogueManifest:
    """Hold the content of `catalogue.json`.

    `items` counts those that a lookup finds, `segments` come oldest first, `embedding_width` is 0 if no item has an
    embedding. `provenance` says what it was made of, and when.
    """

    version: str
    fingerprint: str
    items: int
    embedding_width: int
    fields: tuple[CatalogueField, ...]
    segments: tuple[SegmentEntry, ...]
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types, with the format number."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: object) -> CatalogueManifest:
        """Read `to_json`'s form. Raises `CatalogueError` naming the wrong key."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> CatalogueManifest:
        """Read ``folder/catalogue.json``. Raises `CatalogueError` if it is missing or malformed."""
        raise NotImplementedError


def fingerprint_folder(root: Path, fingerprint: str) -> Path:
    """Return the folder of the versions for one feature spec."""
    return root / fingerprint[:FINGERPRINT_DIGITS]
