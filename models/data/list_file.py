"""Read a list file window by window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.contract.arrays import Bools, Floats, Ints
from models.data.lists import ListFileError, Split
from models.data.windows import ItemColumns, ListWindow

WINDOW: Final = 2048
"""Lists of a window."""

_LABELS: Final = ("clicks", "purchases", "gmv")


class ListFile:
    """Read one Parquet file of lists, always in the same order.

    Raises `ListFileError` naming file, row and column.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        try:
            self._file = pq.ParquetFile(source)
        except (OSError, pa.ArrowException) as error:
            raise ListFileError(f"{source}: cannot be read as Parquet: {error}") from error

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def windows(
        self, split: Split | None = None, *, embeddings: bool = True, size: int = WINDOW
    ) -> Iterator[ListWindow]:
        """Read the lists in order, of one split if given; `embeddings` only if asked for."""
        first = 0
        for batch in self._file.iter_batches(batch_size=size):
            window = _window(batch, self.source, first, embeddings)
            first += batch.num_rows
            if split is not None:
                window = window.take(np.flatnonzero(pc.equal(window.splits, split).to_numpy(zero_copy_only=False)))
            if len(window):
                yield window


def _window(batch: pa.RecordBatch, source: str, first: int, embeddings: bool) -> ListWindow:
    n = batch.num_rows
    candidates = batch["candidates"]
    exposed, shown_starts = batch["exposed"], _starts(batch["exposed"])
    labels, observed = _labels(batch, int(shown_starts[-1]))
    return ListWindow(
        source=source,
        rows=np.arange(first, first + n),
        request_ids=batch["request_id"],
        splits=batch["split"],
        user=_members(batch["user"]),
        context=_members(batch["context"]),
        candidates=_items(candidates.flatten(), embeddings),
        starts=_starts(candidates),
        exposed=exposed.flatten().to_numpy(zero_copy_only=False).astype(np.int64),
        shown_starts=shown_starts,
        labels=labels,
        observed=observed,
    )


def _starts(lists: pa.Array) -> Ints:
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _members(structs: pa.Array) -> Mapping[str, pa.Array]:
    if pa.types.is_null(structs.type):
        return {}
    return dict(zip([field.name for field in structs.type], structs.flatten(), strict=True))


def _items(structs: pa.Array, embeddings: bool) -> ItemColumns:
    parts = _members(structs)
    absent = pa.nulls(len(structs))
    return ItemColumns(
        parts["id"],
        _members(parts.get("scores", absent)),
        parts.get("price", absent).cast(pa.float64()),
        _members(parts.get("features", absent)),
        parts.get("embedding", absent.cast(pa.list_(pa.float64()))) if embeddings else None,
    )


def _labels(batch: pa.RecordBatch, k: int) -> tuple[Floats, Bools]:
    labels = np.zeros((k, 3))
    observed = np.zeros((batch.num_rows, 3), bool)
    counts = batch["exposed"].value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    for column, name in enumerate(_LABELS):
        if name in batch.schema.names and not pa.types.is_null(batch[name].type):
            known = batch[name].is_valid().to_numpy(zero_copy_only=False)
            labels[np.repeat(known, counts), column] = batch[name].flatten().to_numpy(zero_copy_only=False)
            observed[:, column] = known
    return labels, observed
