"""Keep the items as they came, for a catalogue for another feature spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.catalogue.encoding import embedding_type
from models.catalogue.fields import FieldPlan
from models.catalogue.index import read_ids
from models.catalogue.items import DELETED, FEATURES, ItemBlock, ItemPart
from models.contract.arrays import Bools
from models.data.reading.arrow_forms import lists, plain


class RawItems:
    """Write blocks of items in one schema, in the order in which they come."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema

    def add(self, block: ItemBlock) -> None:
        """Write items, whose fields are as their plans have read them."""
        self._write(len(block.rows), {"id": read_ids(block), **dict(self._known(block))})

    def add_tombstones(self, block: ItemBlock) -> None:
        """Write items that are gone: their ids, and nothing else."""
        n = len(block.rows)
        if n:
            self._write(n, {"id": read_ids(block), DELETED: pa.array(np.ones(n, bool))})

    def _write(self, n: int, arrays: Mapping[str, pa.Array]) -> None:
        found = [arrays.get(field.name, pa.nulls(n, field.type)) for field in self._schema]
        self._writer.write_table(pa.table(found, schema=self._schema))

    def _known(self, block: ItemBlock) -> Iterator[tuple[str, pa.Array]]:
        n, names = len(block.rows), self._schema.names
        if "price" in block.columns:
            yield "price", block.columns["price"]
        if "embedding" in block.columns:
            yield "embedding", _embedding(block, self._schema.field("embedding").type)
        if FEATURES in names:
            kind = self._schema.field(FEATURES).type
            parts = [block.fields.get(field.name, pa.nulls(n, field.type)) for field in kind]
            yield (
                FEATURES,
                pa.StructArray.from_arrays(
                    [part.cast(field.type) for part, field in zip(parts, kind, strict=True)], fields=list(kind)
                ),
            )


@contextmanager
def raw_items(path: Path, parts: Sequence[ItemPart], plans: Sequence[FieldPlan], deleted: Bools) -> Iterator[RawItems]:
    """Open a Parquet file for the items of some files."""
    schema = _schema(parts, plans, bool(deleted.any()))
    texts = [f"{FEATURES}.{plan.name}" for plan in plans if plan.kind == "text"]
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=texts) as writer:
        yield RawItems(writer, schema)


def _schema(parts: Sequence[ItemPart], plans: Sequence[FieldPlan], tombstones: bool) -> pa.Schema:
    fields = [pa.field("id", pa.string())]
    if any("price" in part.columns for part in parts):
        fields.append(pa.field("price", pa.float64()))
    kinds = {embedding_type(part.columns["embedding"]) for part in parts if "embedding" in part.columns}
    if kinds:
        fields.append(pa.field("embedding", pa.list_(pa.float32() if kinds == {pa.float32()} else pa.float64())))
    if plans:
        fields.append(pa.field(FEATURES, pa.struct([pa.field(plan.name, plan.type) for plan in plans])))
    if tombstones:
        fields.append(pa.field(DELETED, pa.bool_()))
    return pa.schema(fields)


def _embedding(block: ItemBlock, kind: pa.DataType) -> pa.Array:
    """Convert embeddings of any form to plain lists; an empty one is null."""
    elements, starts, _ = lists(block.columns["embedding"], block.place("embedding"))
    missing = pa.array(np.diff(starts) == 0)
    offsets = pa.array(starts.astype(np.int32))
    values = plain(elements).cast(kind.value_type, safe=False)
    return pa.ListArray.from_arrays(offsets, values, type=kind, mask=missing)
