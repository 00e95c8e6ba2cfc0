"""Define `catalogue.json`, which describes one version of a catalogue of items.

A catalogue is encoded for one feature spec. It holds the spec and its fingerprint, as a bundle does, and stands at
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
  UTF-8, one after the other) and ``ends-<k>.npy`` (int64: where each text ends).
- ``items.parquet``: the items as they came; no server reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from models.contract.spec import FeatureSpec, SpecError, as_mapping, check_keys, record, scalar
from models.contract.tensor_specs import array, text

CATALOGUE_FILE: Final = "catalogue.json"
CATALOGUE_FOLDER: Final = "catalogue"
"""Folder of the catalogues beside the bundles, unless another is set."""
ITEMS_FILE: Final = "items.parquet"
FORMAT: Final = 1
FINGERPRINT_DIGITS: Final = 12
"""So many digits of the fingerprint name the folder of a spec's versions."""

MOST_SEGMENTS: Final = 16
"""Most segments of a version; an update that would make more compacts them."""

MOST_ROWS: Final = 2**31 - 1
"""Most rows of a segment."""

FieldKind = Literal["text", "number", "flag"]

_KEYS: Final = {
    *("format", "version", "fingerprint", "items", "embedding_width", "fields", "segments", "provenance", "spec"),
}
_ALWAYS: Final = ("hashes.npy", "directory.npy", "rows.npy", "numbers.npy", "price.npy")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class CatalogueError(SpecError):
    """Report a catalogue that may not serve; the message names the file or key."""


@dataclass(frozen=True, slots=True)
class CatalogueField:
    """Define one field of items; whether the spec has it does not matter."""

    name: str
    kind: FieldKind

    def __post_init__(self) -> None:
        if self.kind not in get_args(FieldKind):
            raise CatalogueError(f"{self.name[:64]}.kind: must be one of {', '.join(get_args(FieldKind))}")

    def files(self, k: int) -> list[str]:
        """Name the files of a segment that hold its values, where it is field k."""
        return [f"values-{k}.npy", *([f"texts-{k}.npy", f"ends-{k}.npy"] if self.kind == "text" else [])]


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """Describe a segment.

    `name` is its folder's, `deleted` counts those of its rows that are tombstones, `files` maps names to SHA-256.
    """

    name: str
    rows: int
    deleted: int
    files: dict[str, str]

    @property
    def has_embeddings(self) -> bool:
        """Tell whether it has a file of embeddings."""
        return "embeddings.npy" in self.files


@dataclass(frozen=True)
class CatalogueManifest:
    """Hold the content of `catalogue.json`.

    `items` counts those that a lookup finds, `segments` come oldest first, `embedding_width` is 0 if no item has an
    embedding. `provenance` says what it was made of, and when. `spec` is what items are encoded for.
    """

    version: str
    spec: FeatureSpec
    items: int
    embedding_width: int
    fields: tuple[CatalogueField, ...]
    segments: tuple[SegmentEntry, ...]
    provenance: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Return the spec's fingerprint."""
        return self.spec.fingerprint

    def to_json(self) -> dict[str, Any]:
        """Write plain JSON types, with the format number and the spec's fingerprint."""
        return {
            "format": FORMAT,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "items": self.items,
            "embedding_width": self.embedding_width,
            "fields": [asdict(field) for field in self.fields],
            "segments": [asdict(segment) for segment in self.segments],
            "provenance": dict(self.provenance),
            "spec": self.spec.to_json(),
        }

    @classmethod
    def from_json(cls, data: object) -> CatalogueManifest:
        """Read `to_json`'s form.

        Raises `CatalogueError` naming the wrong key or a fingerprint that differs.
        """
        try:
            table = as_mapping(data, "catalogue")
            if "format" in table and table["format"] != FORMAT:
                raise SpecError(f"catalogue.format: this version reads format {FORMAT}, not {table['format']!r}")
            check_keys(table, _KEYS, "catalogue")
            check_texts(table, "catalogue")
            return _manifest(table)
        except SpecError as error:
            raise CatalogueError(str(error)) from None

    @classmethod
    def read(cls, folder: Path) -> CatalogueManifest:
        """Read ``folder/catalogue.json``. Raises `CatalogueError` if it is missing or malformed."""
        path = folder / CATALOGUE_FILE
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except OSError as error:
            raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from error
        except CatalogueError as error:
            raise CatalogueError(f"{path}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise CatalogueError(f"{path}: is not valid JSON: {error}") from error


def check_texts(table: Mapping[str, Any], where: str) -> None:
    """Raise `CatalogueError` if any text in a JSON object cannot be written as UTF-8."""
    try:
        json.dumps(table, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CatalogueError(f"{where}: has half a surrogate pair in a text") from None


def fingerprint_folder(root: Path, fingerprint: str) -> Path:
    """Return the folder of the versions for one feature spec."""
    return root / fingerprint[:FINGERPRINT_DIGITS]


def array_files(fields: Sequence[CatalogueField], *, embeddings: bool, deleted: bool) -> list[str]:
    """Name the files that a segment of such items must have, `ITEMS_FILE` left out."""
    found = [*_ALWAYS, *(["embeddings.npy"] if embeddings else []), *(["deleted.npy"] if deleted else [])]
    return found + [name for k, field in enumerate(fields) for name in field.files(k)]


def _manifest(table: Mapping[str, Any]) -> CatalogueManifest:
    where = "catalogue"
    spec = FeatureSpec.from_json(table["spec"])
    if table["fingerprint"] != spec.fingerprint:
        raise SpecError(
            f"{where}.fingerprint: is {table['fingerprint']!r}, but the spec in it has {spec.fingerprint!r}"
        )
    width = _count(table, "embedding_width", where)
    fields = tuple(
        record(CatalogueField, f, f"{where}.fields[{i}]") for i, f in enumerate(array(table, "fields", where))
    )
    _check_names([field.name for field in fields], f"{where}.fields")
    entries = array(table, "segments", where)
    if not 1 <= len(entries) <= MOST_SEGMENTS:
        raise SpecError(f"{where}.segments: must be 1 to {MOST_SEGMENTS}, not {len(entries)}")
    segments = tuple(_segment(entry, f"{where}.segments[{i}]", fields, width) for i, entry in enumerate(entries))
    _check_names([segment.name for segment in segments], f"{where}.segments")
    items = _count(table, "items", where)
    if items > sum(segment.rows - segment.deleted for segment in segments):
        raise SpecError(f"{where}.items: are {items}, more than the segments have")
    return CatalogueManifest(
        version=_name(table, "version", where),
        spec=spec,
        items=items,
        embedding_width=width,
        fields=fields,
        segments=segments,
        provenance=dict(as_mapping(table["provenance"], f"{where}.provenance")),
    )


def _segment(data: object, where: str, fields: Sequence[CatalogueField], width: int) -> SegmentEntry:
    table = as_mapping(data, where)
    check_keys(table, {"name", "rows", "deleted", "files"}, where)
    rows, deleted = _count(table, "rows", where), _count(table, "deleted", where)
    if deleted > rows:
        raise SpecError(f"{where}.deleted: are {deleted} of {rows} rows")
    files = dict(as_mapping(table["files"], f"{where}.files"))
    known = array_files(fields, embeddings=width > 0, deleted=deleted > 0)
    check_keys(files, {*known, ITEMS_FILE}, f"{where}.files", ("embeddings.npy", ITEMS_FILE))
    digests = {name: _digest(digest, f"{where}.files.{name}") for name, digest in files.items()}
    return SegmentEntry(_name(table, "name", where), rows, deleted, digests)


def _count(table: Mapping[str, Any], key: str, where: str) -> int:
    value: int = scalar(table[key], "int", f"{where}.{key}")
    if not 0 <= value <= MOST_ROWS:
        raise SpecError(f"{where}.{key}: must be 0 to {MOST_ROWS}, not {value}")
    return value


def _name(table: Mapping[str, Any], key: str, where: str) -> str:
    """Read the name of a folder; it must not lead elsewhere."""
    name = text(table, key, where)
    if not _NAME.fullmatch(name):
        raise SpecError(f"{where}.{key}: must be a plain folder name, not {name[:64]!r}")
    return name


def _digest(value: object, where: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise SpecError(f"{where}: must be a SHA-256 in hex")
    return value


def _check_names(names: Sequence[str], where: str) -> None:
    if len(set(names)) != len(names):
        raise SpecError(f"{where}: has repeated names")
