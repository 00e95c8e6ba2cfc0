"""Make one segment of a catalogue from files of items, in two passes.

The first reads ids alone and finds the place of each item, the second encodes blocks of bounded size straight to those
places: no more is held than the segment's own arrays, the ids, and a few blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from models.catalogue.encoding import SegmentEncoder, read_price
from models.catalogue.fields import FieldPlan, plan_fields
from models.catalogue.index import ItemIndex, index_items, read_deleted
from models.catalogue.items import ItemBlock, ItemPart, read_blocks
from models.catalogue.raw import RawItems, raw_items
from models.contract.arrays import Bools
from models.contract.catalogue.manifest import ITEMS_FILE, CatalogueError, CatalogueField, SegmentEntry
from models.contract.catalogue.segment import write_segment
from models.contract.spec import FeatureSpec
from models.files import file_digest


@dataclass(frozen=True)
class Known:
    """Hold a catalogue's fields, and its embeddings' width, 0 if it has none."""

    fields: Sequence[CatalogueField] = ()
    width: int = 0


@dataclass(frozen=True)
class MadeSegment:
    """Hold a segment that was written, and what is settled with it."""

    entry: SegmentEntry
    known: Known
    index: ItemIndex


def make_segment(
    parts: Sequence[ItemPart], spec: FeatureSpec, folder: Path, *, known: Known, tombstones: bool
) -> MadeSegment:
    """Write a segment into its `folder`, which must not be there yet.

    Deleted items are dropped unless `tombstones` are kept. Raises `CatalogueError` or `ListFileError` naming file, row
    and column of what is wrong.
    """
    plans = plan_fields(parts, spec, known.fields)
    index = index_items(parts, tombstones=tombstones)
    if not len(index):
        raise CatalogueError(f"{parts[0].name if parts else folder}: there are no items")
    encoder = SegmentEncoder(spec, plans, index, known.width)
    raw_path = folder.parent / ITEMS_FILE  # until there is a folder for it
    with (
        raw_items(raw_path, parts, plans, index.deleted) as raw,
        tqdm(total=len(index.places), desc="items", unit="item", unit_scale=True, disable=None) as bar,
    ):
        _fill(parts, plans, index, encoder, raw, bar)
    write_segment(folder, encoder.segment())
    raw_path.rename(folder / ITEMS_FILE)
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    fields = tuple(CatalogueField(plan.name, plan.kind) for plan in plans)
    entry = SegmentEntry(folder.name, len(index), index.tombstones, files)
    return MadeSegment(entry, Known(fields, encoder.width), index)


def _fill(
    parts: Sequence[ItemPart],
    plans: Sequence[FieldPlan],
    index: ItemIndex,
    encoder: SegmentEncoder,
    raw: RawItems,
    bar: tqdm[Any],
) -> None:
    """Read all blocks, and give what is kept of each to both writers."""
    begin = 0
    for part in parts:
        for block in read_blocks(part):
            places = index.places[begin : begin + len(block.rows)]
            begin += len(block.rows)
            gone, kept = read_deleted(block), places >= 0
            live = _read(_where(block, kept & ~gone), plans)
            encoder.add(live, places[kept & ~gone])
            raw.add(live)
            raw.add_tombstones(_where(block, kept & gone))
            bar.update(len(block.rows))


def _where(block: ItemBlock, chosen: Bools) -> ItemBlock:
    return block if chosen.all() else block.where(chosen)


def _read(block: ItemBlock, plans: Sequence[FieldPlan]) -> ItemBlock:
    """Convert fields and prices of a block to the types in which they are kept."""
    fields = {p.name: p.read(block.fields[p.name], block.place(p.name)) for p in plans if p.name in block.fields}
    columns = dict(block.columns)
    if "price" in columns:
        columns["price"] = read_price(columns["price"], block)
    return ItemBlock(block.source, block.rows, columns, fields)
