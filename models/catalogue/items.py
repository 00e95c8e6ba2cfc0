"""Read files of items in blocks of bounded size.

A column is ``id``, ``price``, ``embedding``, ``deleted``, or a field; a struct ``features`` holds fields as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from models.contract.arrays import Bools, Ints
from models.contract.catalogue.manifest import ITEMS_FILE, CatalogueError, CatalogueManifest
from models.data.reading.arrow_forms import is_list, members, value_type
from models.data.reading.parquet_part import open_parquet
from models.data.reading.place import Place
from models.data.reading.stores import Part, parts_of
from models.files import file_digest

FEATURES: Final = "features"
DELETED: Final = "deleted"
ROLES: Final = ("id", "price", "embedding", DELETED)
"""Columns that are no fields."""

_BLOCK_BYTES: Final = 1 << 25
_BLOCK_ROWS: Final = 1 << 15
_NO_ROWS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True)
class ItemPart:
    """Hold a file of items, and what is known before its rows are read.

    Of two items with one id, that of the higher `rank` is newer. `columns` maps roles to their types, `fields` those
    fields that are not null throughout to the types they are read as; `names` has all.
    """

    part: Part
    rank: int
    rows: int
    columns: Mapping[str, pa.DataType]
    fields: Mapping[str, pa.DataType]
    names: frozenset[str]

    @property
    def name(self) -> str:
        """Name the file for messages."""
        return self.part.name


@dataclass(frozen=True)
class ItemBlock:
    """Hold some rows of a file: arrays by role and by field, and row numbers."""

    source: str
    rows: Ints
    columns: Mapping[str, pa.Array]
    fields: Mapping[str, pa.Array]

    def place(self, column: str) -> Place:
        """Name a column of these rows."""
        return Place(self.source, column, self.rows)

    def where(self, chosen: Bools) -> ItemBlock:
        """Return some of the rows."""
        mask = pa.array(chosen)
        columns, fields = ({n: a.filter(mask) for n, a in t.items()} for t in (self.columns, self.fields))
        return ItemBlock(self.source, self.rows[chosen], columns, fields)


def item_parts(sources: Sequence[Path], rank: int = 0) -> list[ItemPart]:
    """Look at files of items, folders of them, or URLs of either. Raises `ListFileError`."""
    return [_looked_at(part, rank) for source in sources for part in parts_of(source)]


def segment_parts(folder: Path, manifest: CatalogueManifest, *, whole: bool = True) -> list[ItemPart]:
    """Look at the items that a catalogue keeps, oldest segment first.

    Raises `CatalogueError` where a file is missing, or not as it was written if they are to be read `whole`.
    """
    found = []
    for rank, entry in enumerate(manifest.segments):
        path = folder / entry.name / ITEMS_FILE
        if not path.is_file():
            raise CatalogueError(f"{path}: there is no such file")
        if whole and file_digest(path) != entry.files.get(ITEMS_FILE):
            raise CatalogueError(f"{path}: its checksum differs from that in the manifest")
        found.append(_looked_at(Part(str(path), str(path)), rank))
    return found


def read_blocks(part: ItemPart, columns: Sequence[str] | None = None) -> Iterator[ItemBlock]:
    """Read a file's rows in order, all columns or those named. Raises `ListFileError`.

    A field of the struct is named as in ``features.brand``.
    """
    with open_parquet(part.part) as file:
        row = 0
        for batch in file.iter_batches(batch_size=_block_rows(file.metadata), columns=columns):
            yield _block(batch, part.name, np.arange(row, row + batch.num_rows))
            row += batch.num_rows


def _block_rows(metadata: Any) -> int:
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    size = max((g.total_byte_size / max(g.num_rows, 1) for g in groups), default=1.0)
    return max(1, min(_BLOCK_ROWS, int(_BLOCK_BYTES / max(size, 1.0))))


def _block(batch: pa.RecordBatch, source: str, rows: Ints) -> ItemBlock:
    columns, fields = dict[str, pa.Array](), dict[str, pa.Array]()
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in ROLES:
            columns[name] = array
        elif _is_features(name, array.type):
            fields.update(members(array, Place(source, name, rows)))
        else:
            fields[name] = array
    return ItemBlock(source, rows, columns, fields)


def _looked_at(part: Part, rank: int) -> ItemPart:
    with open_parquet(part) as file:
        schema, rows = file.schema_arrow, int(file.metadata.num_rows)
    found = list(_columns(schema, part.name))
    twice = next((one for one in found if sum(one[:2] == other[:2] for other in found) > 1), None)
    if twice is not None:
        raise CatalogueError(f"{part.name}: column {twice[1]}: is there twice")
    columns = {name: kind for is_role, name, kind in found if is_role}
    if "id" not in columns:
        raise CatalogueError(f"{part.name}: there is no column 'id'")
    fields = {name: kind for is_role, name, kind in found if not is_role and not kinds.is_null(kind)}
    names = frozenset(name for is_role, name, _ in found if not is_role)
    return ItemPart(part, rank, rows, columns, fields, names)


def _columns(schema: pa.Schema, source: str) -> Iterator[tuple[bool, str, pa.DataType]]:
    """Yield for each column or field whether it has a role, its name, its type."""
    for column in schema:
        if column.name in ROLES:
            yield True, column.name, column.type
        elif _is_features(column.name, column.type):
            for field in column.type:
                yield False, field.name, _field_type(field.type, Place(source, f"{FEATURES}.{field.name}", _NO_ROWS))
        else:
            yield False, column.name, _field_type(column.type, Place(source, column.name, _NO_ROWS))


def _field_type(kind: pa.DataType, place: Place) -> pa.DataType:
    """Return the type that a field is read as; uint64 stays as it is."""
    if is_list(kind):
        raise place.error(f"is {kind}; a field holds one value: text, a number or a boolean")
    return kind if kinds.is_uint64(kind) else value_type(kind, place)


def _is_features(name: str, kind: pa.DataType) -> bool:
    return name == FEATURES and bool(kinds.is_struct(kind))
