"""Read a Parquet file in batches of bounded size, and needed columns only."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from models.contract.arrays import Ints
from models.data.reading.arrow_forms import is_list
from models.data.reading.sniff import not_parquet
from models.data.reading.stores import REMOTE_BLOCK, Part
from models.data.records import ListFileError, Split

COLUMNS: Final = (
    "request_id", "user", "context", "candidates", "exposed", "clicks", "purchases", "gmv", "split",
)  # fmt: skip
OPTIONAL: Final = ("user", "context", "purchases", "gmv")
_ITEM: Final = ("id", "scores", "price", "features", "embedding")
_LOCAL_BUFFER: Final = 1 << 20
_BATCH_BYTES: Final = 1 << 25
"""Bytes of a batch at most, as Parquet encodes them before compression; decoded they may be a few times as many."""
_FETCHED_BYTES: Final = 1 << 26
"""Bytes of a row group, before compression, that is fetched from a store as a whole."""
_SAMPLED: Final = 16
"""Row groups whose sizes are looked at."""


@dataclass(frozen=True)
class Footer:
    """Hold what is known of a part file before its rows are read.

    `digest` is that of the whole footer, which has the sizes and statistics of all columns.
    """

    part: Part
    schema: pa.Schema
    rows: int
    note: Mapping[bytes, bytes]
    digest: str


def read_footer(part: Part) -> Footer:
    """Read a file's footer.

    Raises `ListFileError` if it is no list file.
    """
    with open_parquet(part) as file:
        schema = file.schema_arrow
        _require_columns(schema, part.name)
        whole, note = io.BytesIO(), dict(schema.metadata or {})
        file.metadata.write_metadata_file(whole)
        digest = hashlib.sha256(whole.getbuffer()).hexdigest()
        return Footer(part, schema.remove_metadata(), int(file.metadata.num_rows), note, digest)


def read_batches(
    part: Part, size: int, *, split: Split | None = None, columns: Sequence[str] = COLUMNS, embeddings: bool = True
) -> Iterator[tuple[pa.RecordBatch, Ints]]:
    """Read batches of at most `size` rows with their row numbers.

    Row groups that hold no row of `split` by their statistics are left out.
    """
    with open_parquet(part) as file:
        leaves = _leaves(file, columns, embeddings)
        most = min(size, _rows_at_most(file.metadata, leaves))
        names = [file.schema.column(leaf).path for leaf in leaves]
        for first, groups in _runs(file, split, most):
            row = first
            for batch in file.iter_batches(batch_size=most, row_groups=groups, columns=names):
                yield batch, np.arange(row, row + batch.num_rows)
                row += batch.num_rows


@contextmanager
def open_parquet(part: Part) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Raises `ListFileError`, also for what fails while it is read.
    """
    with part.open() as opened:
        problem = not_parquet(opened)
        if problem:
            raise ListFileError(f"{part.name}: cannot be read as Parquet: {problem}")
        opened.seek(0)
        try:
            yield _parquet_file(opened, remote=part.store is not None)
        except (OSError, pa.ArrowException) as error:
            raise ListFileError(f"{part.name}: cannot be read as Parquet: {error}") from error


def _parquet_file(opened: Any, *, remote: bool) -> pq.ParquetFile:
    """Choose how bytes are fetched: page by page, or a whole row group at once.

    A small buffer streams the pages of a column, so that a huge row group is not held whole. Each read of a store takes
    long, however, so that row groups of usual size are fetched from there in few reads.
    """
    file = pq.ParquetFile(opened, buffer_size=REMOTE_BLOCK if remote else _LOCAL_BUFFER, pre_buffer=False)
    if remote and _largest_group(file.metadata) <= _FETCHED_BYTES:
        return pq.ParquetFile(opened, metadata=file.metadata, pre_buffer=True)
    return file


def _largest_group(metadata: Any) -> int:
    return max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)


def _require_columns(schema: pa.Schema, name: str) -> None:
    twice = [c for c in COLUMNS if schema.names.count(c) > 1]
    if twice:
        raise ListFileError(f"{name}: there are two columns {twice[0]!r}")
    missing = [c for c in COLUMNS if c not in schema.names and c not in OPTIONAL]
    if not missing:
        return
    hint = ""
    if not any(is_list(kind) for kind in schema.types):
        hint = (
            "; it looks like a table of one row per item: write it as CSV (pyarrow.csv.write_csv), which "
            "`listwright data csv` groups into lists (docs/training.md)"
        )
    raise ListFileError(f"{name}: there is no column {missing[0]!r}{hint}")


def _leaves(file: pq.ParquetFile, columns: Sequence[str], embeddings: bool) -> list[int]:
    """Number the columns of plain values that are read.

    Parquet numbers all of them in order, those within structs and lists too.
    """
    paths = [path for field in file.schema_arrow for path in _paths(field.type, (field.name,))]
    items = _ITEM if embeddings else _ITEM[:-1]
    # Without ids they are read whole, so that the window names the problem.
    known = any(path[:2] == ("candidates", "id") for path in paths)
    wanted = []
    for leaf, (top, *inner) in enumerate(paths):
        if top in columns and (top != "candidates" or not known or inner[0] in items):
            wanted.append(leaf)
    return wanted


def _paths(kind: pa.DataType, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if kinds.is_struct(kind):
        for field in kind:
            yield from _paths(field.type, (*path, field.name))
    elif kinds.is_map(kind):
        yield from _paths(kind.key_type, path)
        yield from _paths(kind.item_type, path)
    elif is_list(kind):
        yield from _paths(kind.value_type, path)
    else:
        yield path


def _rows_at_most(metadata: Any, leaves: Sequence[int]) -> int:
    """Count the rows of a batch of bounded bytes, by the first row groups."""
    most = 1.0
    for number in range(min(metadata.num_row_groups, _SAMPLED)):
        group = metadata.row_group(number)
        size = sum(group.column(leaf).total_uncompressed_size for leaf in leaves)
        most = max(most, size / max(group.num_rows, 1))
    return max(1, int(_BATCH_BYTES / most))


def _runs(file: pq.ParquetFile, split: Split | None, size: int) -> Iterator[tuple[int, list[int]]]:
    """Join neighbouring row groups of together `size` rows at most.

    Yield the first row and the groups' numbers; row groups that are not read are left out.
    """
    leaf = next(i for i in range(len(file.schema)) if file.schema.column(i).path == "split")
    begin, run, first, rows = 0, list[int](), 0, 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        wanted = split is None or _may_hold(group.column(leaf), split)
        if run and (not wanted or rows + group.num_rows > size):
            yield first, run
            run = []
        if wanted:
            if not run:
                first, rows = begin, 0
            run.append(number)
            rows += group.num_rows
        begin += group.num_rows
    if run:
        yield first, run


def _may_hold(column: Any, split: Split) -> bool:
    """Tell whether a row group may hold rows of a split, by its statistics."""
    found = column.statistics
    if found is None or not found.has_min_max or not isinstance(found.min, str):
        return True
    return bool(found.min <= split <= found.max)
