"""Find the place of every item in the order of hashes, before anything is encoded.

Axis letters: n rows of all files, m items that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from models.catalogue.items import DELETED, ItemBlock, ItemPart, read_blocks
from models.contract.arrays import Bools, Ints
from models.contract.catalogue.lookup import Hashes, hash_ids
from models.contract.catalogue.manifest import CatalogueError
from models.data.reading.arrow_forms import first, is_bytes, is_text, plain, texts
from models.data.reading.place import Place

LONGEST_ID: Final = 256
"""Characters of an id at most, as in requests."""


@dataclass(frozen=True)
class ItemIndex:
    """Hold the place of each row.

    `places` [n] are −1 for a row that a newer one replaces, or that is dropped. `hashes` [m] and `deleted` [m] are in
    the order of hashes.
    """

    places: Ints
    hashes: Hashes
    deleted: Bools

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def tombstones(self) -> int:
        """Count the deleted items."""
        return int(self.deleted.sum())


def index_items(parts: Sequence[ItemPart], *, tombstones: bool) -> ItemIndex:
    """Read ids, and place the newest row of each.

    Deleted ones are dropped unless `tombstones` are kept. Raises `CatalogueError` or `ListFileError` naming ids that
    are wrong, there twice, or have one hash.
    """
    rows = _Rows(parts)
    order = np.argsort(rows.hashes, kind="stable")  # rows of higher ranks stay behind those of lower ones
    alike = rows.hashes[order[1:]] == rows.hashes[order[:-1]]
    rows.check_alike(order[:-1][alike], order[1:][alike])
    newest = np.append(~alike, np.ones(min(len(order), 1), bool))
    kept = order[newest]
    if not tombstones:
        kept = kept[~rows.deleted[kept]]
    places = np.full(len(order), -1, np.int64)
    places[kept] = np.arange(len(kept))
    return ItemIndex(places, rows.hashes[kept], rows.deleted[kept])


def read_ids(block: ItemBlock) -> pa.Array:
    """Return the ids of a block. Raises `ListFileError` naming one that is none."""
    array, place = plain(block.columns["id"]), block.place("id")
    if not (is_text(array.type) or is_bytes(array.type)):
        raise place.error(f"must be text, not {array.type}")
    ids = texts(array, place)
    if ids.null_count:
        raise place.error("holds a null", first(ids.is_null()))
    lengths = pc.utf8_length(ids)
    wrong = pc.or_(pc.less(lengths, 1), pc.greater(lengths, LONGEST_ID))
    if pc.any(wrong).as_py():
        at = first(wrong)
        raise place.error(f"must have 1 to {LONGEST_ID} characters, not {lengths[at]}", at)
    return ids


def read_deleted(block: ItemBlock) -> Bools:
    """Tell which rows of a block are tombstones; a null is none."""
    array = block.columns.get(DELETED)
    if array is None or kinds.is_null(array.type):
        return np.zeros(len(block.rows), bool)
    array = plain(array)
    if not kinds.is_boolean(array.type):
        raise block.place(DELETED).error(f"must be true or false, not {array.type}")
    found: Bools = array.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def has_items(part: ItemPart) -> bool:
    """Tell whether a file has any row that is no tombstone."""
    return any(not read_deleted(block).all() for block in read_blocks(part, ["id", DELETED]))


class _Rows:
    """Hold what decides on the place of each row [n]: ids, their hashes, and tombstones."""

    def __init__(self, parts: Sequence[ItemPart]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.rows for part in parts)])
        blocks = list(self._blocks())
        self._ids = pa.concat_arrays([pa.array([], pa.large_string()), *(ids for ids, _, _ in blocks)])
        self.hashes: Hashes = np.concatenate([np.zeros(0, np.uint64), *(hashes for _, hashes, _ in blocks)])
        self.deleted: Bools = np.concatenate([np.zeros(0, bool), *(deleted for _, _, deleted in blocks)])

    def _blocks(self) -> Iterator[tuple[pa.Array, Hashes, Bools]]:
        for part in self._parts:
            for block in read_blocks(part, ["id", DELETED]):
                ids = read_ids(block)
                yield ids.cast(pa.large_string()), hash_ids(ids.to_pylist()), read_deleted(block)

    def check_alike(self, older: Ints, newer: Ints) -> None:
        """Check pairs of rows with one hash: they must be one item of two ranks."""
        one = self._ids.take(pa.array(older))
        self.check_same(one, newer)
        part_of = np.searchsorted(self._starts, np.stack([older, newer]), side="right") - 1
        ranks = np.array([part.rank for part in self._parts], np.int64)[part_of]
        twice = ranks[0] == ranks[1]
        if twice.any():
            # The pair that comes first in the files, whatever its hash.
            at = int(np.flatnonzero(twice)[np.argmin(newer[twice])])
            place = self._place(int(older[at]))
            raise self._place(int(newer[at])).error(
                f"{str(one[at])!r} is there already, in {place.source}, row {int(place.rows[0])}", 0
            )

    def check_same(self, ids: pa.Array, rows: Ints) -> None:
        """Check that `ids` are those of the `rows` whose hashes they have."""
        other = self._ids.take(pa.array(rows))
        differ = pc.not_equal(ids, other).to_numpy(zero_copy_only=False)
        if differ.any():
            at = int(np.argmax(differ))
            raise _collision(str(ids[at]), str(other[at]), self._place(int(rows[at])))

    def _place(self, row: int) -> Place:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return Place(self._parts[number].name, "id", np.array([row - self._starts[number]]))


def check_collisions(parts: Sequence[ItemPart], older: Sequence[ItemPart], shared: Hashes) -> None:
    """Raise `CatalogueError` where an older item has a new one's hash, but another id.

    `shared` are the hashes that both have, in ascending order.
    """
    if not len(shared):
        return
    new = _Rows(parts)
    order = np.argsort(new.hashes, kind="stable")
    rows = order[np.searchsorted(new.hashes[order], shared)]
    for part in older:
        for block in read_blocks(part, ["id"]):
            ids = read_ids(block)
            hashes = hash_ids(ids.to_pylist())
            at = np.minimum(np.searchsorted(shared, hashes), len(shared) - 1)
            here = np.flatnonzero(shared[at] == hashes)
            new.check_same(ids.take(pa.array(here)), rows[at[here]])


def _collision(one: str, other: str, place: Place) -> CatalogueError:
    return CatalogueError(f"{place.error(f'{other!r} has the same hash as {one!r}; rename one of the two', 0)}")
