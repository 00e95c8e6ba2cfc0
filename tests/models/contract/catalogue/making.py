"""Make small catalogues of items without any Parquet file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.contract.arrays import Ints
from models.contract.catalogue.lookup import hash_ids, make_directory
from models.contract.catalogue.manifest import (
    CATALOGUE_FILE,
    CatalogueField,
    CatalogueManifest,
    FieldKind,
    SegmentEntry,
)
from models.contract.catalogue.segment import FieldValues, Segment, Texts, write_segment
from models.contract.embeddings import unit_embeddings
from models.contract.features import Encoder
from models.contract.scalars import Scalar, read_number


@dataclass(frozen=True, slots=True)
class Item:
    """Serve as an item of a catalogue and as a candidate of a request."""

    id: str
    features: Mapping[str, Scalar] = field(default_factory=dict)
    price: float | None = None
    embedding: Sequence[float] | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    tags: Mapping[str, Scalar] = field(default_factory=dict)
    deleted: bool = False


def write_catalogue(folder: Path, encoder: Encoder, *batches: Sequence[Item]) -> CatalogueManifest:
    """Write one segment per batch, the later ones as updates of the earlier, and the manifest."""
    items = [item for batch in batches for item in batch]
    fields = fields_of(items)
    width = max((len(item.embedding or ()) for item in items), default=0)
    entries = []
    for i, batch in enumerate(batches):
        segment = make_segment(batch, encoder, fields, width)
        write_segment(folder / f"segment-{i}", segment)
        entries.append(entry_of(folder / f"segment-{i}", batch))
    live = {item.id: not item.deleted for item in items}
    manifest = CatalogueManifest(
        version=folder.name,
        spec=encoder.spec,
        items=sum(live.values()),
        embedding_width=width,
        fields=fields,
        segments=tuple(entries),
        provenance={"made by": "a test", "at": "2026-11-01T12:00:00+00:00"},
    )
    (folder / CATALOGUE_FILE).write_text(json.dumps(manifest.to_json()), "utf-8")
    return manifest


def entry_of(folder: Path, batch: Sequence[Item]) -> SegmentEntry:
    """Describe a segment that was written."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    return SegmentEntry(folder.name, len(batch), sum(item.deleted for item in batch), files)


def fields_of(items: Sequence[Item]) -> tuple[CatalogueField, ...]:
    """Find the fields that items have, each of one kind."""
    kinds: dict[str, FieldKind] = {}
    for item in items:
        for name, value in item.features.items():
            kind = kind_of(value)
            if kind is not None:
                assert kinds.setdefault(name, kind) == kind, name
    return tuple(CatalogueField(name, kind) for name, kind in kinds.items())


def kind_of(value: Scalar) -> FieldKind | None:
    if value is None:
        return None
    return "text" if isinstance(value, str) else "flag" if isinstance(value, bool) else "number"


def make_segment(batch: Sequence[Item], encoder: Encoder, fields: Sequence[CatalogueField], width: int) -> Segment:
    """Encode items as `models.contract.catalogue.manifest` says."""
    hashes = hash_ids([item.id for item in batch])
    order: Ints = np.argsort(hashes)
    items = [batch[i] for i in order.tolist()]
    columns = [
        [-1 if item.features.get(c.name) is None else c.row(item.features[c.name]) for item in items]
        for c in encoder.item_columns
    ]
    own = encoder.spec.own_item_numbers
    numbers = [[read_number(item.features.get(f.name), f.name) for item in items] for f in own]
    with_embeddings = any(item.embedding for item in items)
    embeddings = np.zeros((len(items), width), np.float32)
    if with_embeddings:
        embeddings[:] = unit_embeddings([item.embedding for item in items])
    return Segment(
        hashes=hashes[order],
        directory=make_directory(hashes[order]),
        rows=np.array(columns, np.int32).reshape(len(columns), len(items)).T,
        numbers=np.array(numbers, np.float64).reshape(len(numbers), len(items)).T,
        price=np.array([item.price for item in items], np.float64),
        embeddings=embeddings if with_embeddings else None,
        deleted=np.array([item.deleted for item in items]) if any(item.deleted for item in items) else None,
        values=tuple(values_of([item.features.get(f.name) for item in items], f.kind) for f in fields),
    )


def values_of(values: Sequence[Scalar], kind: FieldKind) -> FieldValues:
    """Hold the values of one field as a segment does."""
    if kind == "number":
        return np.array([read_number(value, "") for value in values], np.float64)
    if kind == "flag":
        return np.array([-1 if value is None else int(value) for value in values], np.int8)
    places: dict[Scalar, int] = {None: -1}
    codes = [places.setdefault(value, len(places) - 1) for value in values]
    texts = [str(text).encode() for text in list(places)[1:]]
    joined = np.frombuffer(b"".join(texts), np.uint8)
    return Texts(np.array(codes, np.int32), joined, np.cumsum(list(map(len, texts)), dtype=np.int64))
