"""Make files of items and catalogues of them, small enough to be read at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.scalars import Scalar
from models.contract.spec import Category, FeatureSpec, Hashed, Number

SPEC: Final = FeatureSpec(
    item=(Category("brand", ("acme", "bolt")), Hashed("shop", 50), Number("stars")), price=Number("price", default=9.0)
)
OTHER_SPEC: Final = FeatureSpec(item=(Hashed("brand", 7), Number("height"), Category("fresh", ("true",))))

COLUMNS: Final[Mapping[str, Any]] = {
    "id": ["a", "b", "c", "d"],
    "price": [1.0, None, 3.5, 0.0],
    "brand": ["acme", "bolt", "other", None],
    "shop": [11, 12, None, 11],
    "stars": [4.5, None, 3.0, 1.0],
    "height": [1, 2, 3, None],
    "fresh": [True, False, None, True],
    "embedding": [[3.0, 4.0], None, [0.0, -2.0], []],
}


def write_items(path: Path, columns: Mapping[str, Any] | None = None, **others: Any) -> Path:
    """Write a file of items: `COLUMNS` or other ones, with `others` added; None leaves a column out."""
    found = {**(COLUMNS if columns is None else columns), **others}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: values for name, values in found.items() if values is not None}), path)
    return path


def delta(ids: Sequence[str], **others: Any) -> dict[str, Any]:
    """Columns of an update of some items, of which nothing else is known."""
    names = [name for name in COLUMNS if name not in ("id", *others)]
    return {"id": list(ids), **{name: pa.nulls(len(ids)) for name in names}, **others}


def opened(folder: Path) -> Catalogue:
    return Catalogue(CatalogueManifest.read(folder), folder)


def features(folder: Path, ids: Sequence[str]) -> list[Mapping[str, Scalar] | None]:
    """What a catalogue knows of the fields of some items; None for an unknown one."""
    return [None if item is None else item.features for item in opened(folder).items(ids)]


def files(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
