"""Write the items of a list file as Parquet, to build a catalogue of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.record_table import candidate_columns
from models.data.records import Candidate, ListFileError, ListRecord
from models.files import whole_file

_OF_ITEMS: Final = ("id", "price", "features", "embedding")
"""What is known of an item whatever the request; scores are not."""


def latest_items(records: Iterable[ListRecord]) -> dict[str, Candidate]:
    """Return every item as it was last seen, in order of first appearance."""
    items: dict[str, Candidate] = {}
    for record in records:
        items.update((candidate.id, candidate) for candidate in record.candidates)
    return items


def write_items(path: Path, items: Iterable[Candidate]) -> None:
    """Write one row per item. Raises `ListFileError` for none, and for values of mixed types."""
    found = list(items)
    if not found:
        raise ListFileError(f"{path}: there are no items to write")
    columns = candidate_columns(found)
    kept = {name: columns[name] for name in _OF_ITEMS if columns[name].null_count < len(found)}
    with whole_file(path) as draft:
        pq.write_table(pa.table(kept), draft, compression="zstd")
