"""Read a list file window by window."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from models.contract.arrays import Bools, Floats, Ints
from models.data.arrow_columns import ColumnError, lengths, lists, mappings, members, scalars, texts
from models.data.list_writer import METADATA_KEY, check_record
from models.data.records import Candidate, ListFileError, ListRecord, Split
from models.data.windows import ItemColumns, ListWindow

WINDOW: Final = 2048
"""Lists of a window."""

COLUMNS: Final = (
    "request_id", "user", "context", "candidates", "exposed", "clicks", "purchases", "gmv", "split",
)  # fmt: skip
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


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata that `write_lists` wrote; empty for files of another origin."""
    raw = (_open(path).schema_arrow.metadata or {}).get(METADATA_KEY, b"{}")
    return dict(json.loads(raw))


def read_lists(path: Path, split: Split | None = None) -> Iterator[ListRecord]:
    """Read a file's records in order, of one split if given. Raises `ListFileError`."""
    source = _open(path)
    missing = [c for c in COLUMNS if c not in source.schema_arrow.names and c not in ("purchases", "gmv")]
    if missing:
        raise ListFileError(f"{path}: there is no column {missing[0]!r}")
    columns = [c for c in COLUMNS if c in source.schema_arrow.names]
    row, seen = 0, set[str]()
    for batch in source.iter_batches(batch_size=512, columns=columns):
        for record in _from_batch(batch, path, row):
            check_record(record, path, row, seen)
            row += 1
            if split is None or record.split == split:
                yield record


def read_splits(path: Path) -> dict[Split, Sequence[ListRecord]]:
    """Read the records of a list file by split, including empty splits. Raises `ListFileError`."""
    splits: dict[Split, list[ListRecord]] = {name: [] for name in get_args(Split)}
    for record in tqdm(read_lists(path), desc="read", unit="list", disable=None):
        splits[record.split].append(record)
    return {**splits}


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ListFileError(f"{path}: cannot be read as Parquet: {error}") from error


def _from_batch(batch: pa.RecordBatch, path: Path, first_row: int) -> Iterator[ListRecord]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in ("request_id", "candidates", "exposed", "clicks", "split"):
        if columns[name].null_count:
            row = first_row + columns[name].is_null().to_pylist().index(True)
            raise ListFileError(f"{path}: row {row}, column {name}: is null")
    # Columns are converted whole, which is much quicker than record by record.
    try:
        candidates = iter(_candidates(columns["candidates"]))
        counts = lengths(columns["candidates"], "candidates")
        user, context = mappings(columns["user"], "user"), mappings(columns["context"], "context")
        ids, splits = texts(columns["request_id"], "request_id"), texts(columns["split"], "split")
        labels = {
            name: lists(columns[name], name) if name in columns else [None] * batch.num_rows
            for name in ("exposed", "clicks", "purchases", "gmv")
        }
    except ColumnError as error:
        raise ListFileError(f"{path}: rows {first_row} to {first_row + batch.num_rows - 1}, {error}") from error
    for i, count in enumerate(counts):
        yield ListRecord(
            request_id=ids[i],
            candidates=tuple(islice(candidates, count)),
            exposed=labels["exposed"][i] or (),
            clicks=labels["clicks"][i] or (),
            purchases=labels["purchases"][i],
            gmv=labels["gmv"][i],
            user=user[i],
            context=context[i],
            split=cast(Split, splits[i]),
        )


def _candidates(column: pa.Array) -> list[Candidate]:
    parts = members(column, "candidates")
    if "id" not in parts:
        raise ColumnError("column candidates.id: is missing")
    n = len(parts["id"])
    absent = pa.nulls(n)
    return list(
        map(
            Candidate,
            texts(parts["id"], "candidates.id"),
            mappings(parts.get("scores", absent), "candidates.scores"),
            scalars(parts.get("price", absent)),
            mappings(parts.get("features", absent), "candidates.features"),
            lists(parts.get("embedding", absent), "candidates.embedding"),
        )
    )
