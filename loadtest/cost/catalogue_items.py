"""Write a catalogue of made-up items, of any size, without a file of items."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Floats32
from models.contract.catalogue.lookup import hash_ids, make_directory
from models.contract.catalogue.manifest import CATALOGUE_FILE, CatalogueField, CatalogueManifest, SegmentEntry
from models.contract.catalogue.segment import Segment, Texts, write_segment
from models.contract.features import Encoder
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.files import file_digest

BRANDS: Final = [f"brand-{i}" for i in range(500)]
FIELDS: Final = (CatalogueField("brand", "text"), CatalogueField("stars", "number"), CatalogueField("fresh", "flag"))
SPEC: Final = FeatureSpec(
    item=(
        Category("category", tuple(f"category-{i}" for i in range(20))),
        *(Hashed("brand", 1000), Hashed("seller", 5000)),
        *(Number("stars", mean=3.0), Number("age", transform="log1p")),
    ),
    scores=(Number("ctr", mean=-3.0, transform="logit"), Number("cvr", mean=-4.0, transform="logit")),
    price=Number("price", mean=3.0, default=20.0, transform="log1p"),
)

_BLOCK: Final = 65_536


def item_ids(numbers: Sequence[int]) -> list[str]:
    """Name the items of these numbers."""
    return [f"item-{number}" for number in numbers]


def write_synthetic(folder: Path, items: int, width: int, seed: int = 0) -> CatalogueManifest:
    """Write a catalogue of one segment for `SPEC`, into a folder that is made."""
    write_segment(folder / "base", _segment(items, width, np.random.default_rng(seed)))
    paths = sorted((folder / "base").iterdir())
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file)  # Pages that are yet to be written would count as the memory of whoever maps them.
    files = {path.name: file_digest(path) for path in paths}
    manifest = CatalogueManifest(
        version=folder.name,
        spec=SPEC,
        items=items,
        embedding_width=width,
        fields=FIELDS,
        segments=(SegmentEntry("base", items, 0, files),),
        provenance={"seed": seed},
    )
    (folder / CATALOGUE_FILE).write_text(json.dumps(manifest.to_json()), "utf-8")
    return manifest


def _segment(n: int, width: int, random: np.random.Generator) -> Segment:
    hashes = np.sort(np.concatenate([hash_ids(item_ids(block)) for block in _blocks(n)]))
    if np.any(hashes[1:] == hashes[:-1]):
        raise ValueError("two ids have one hash")
    encoder = Encoder(SPEC)
    brands = random.integers(-1, len(BRANDS), n, dtype=np.int32)
    rows_of_brand = np.array([*encoder.item_columns[1].rows(BRANDS), -1], np.int32)  # Code −1 names the last.
    rows = np.stack([random.integers(-1, 20, n), rows_of_brand[brands], random.integers(1022, 6021, n)], 1)
    stars = random.choice([1.0, 2.0, 3.0, 4.0, 5.0, np.nan], n)
    texts = [brand.encode() for brand in BRANDS]
    return Segment(
        hashes=hashes,
        directory=make_directory(hashes),
        rows=rows.astype(np.int32),
        numbers=np.stack([stars, random.exponential(30.0, n)], 1),
        price=random.lognormal(3.0, 1.0, n),
        embeddings=_unit_rows(n, width, random) if width else None,
        deleted=None,
        values=(
            Texts(brands, _bytes(texts), np.cumsum([len(text) for text in texts], dtype=np.int64)),
            stars,
            random.integers(-1, 2, n, dtype=np.int8),
        ),
    )


def _blocks(n: int) -> list[range]:
    """Part the numbers of n items, so that few ids are in memory at once."""
    return [range(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def _unit_rows(n: int, width: int, random: np.random.Generator) -> Floats32:
    rows = np.empty((n, width), np.float32)
    for block in _blocks(n):
        part = rows[block.start : block.stop]
        random.standard_normal(out=part, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def _bytes(texts: Sequence[bytes]) -> NDArray[Any]:
    return np.frombuffer(b"".join(texts), np.uint8)
