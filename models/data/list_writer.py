"""Write list records to a Parquet file or to a folder of part files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.list_file import METADATA_KEY
from models.data.list_spool import CHUNK, Spool
from models.data.records import ListFileError, ListRecord
from models.files import named_if_full, whole_file, whole_folder


def write_lists(
    path: Path, records: Iterable[ListRecord], metadata: Mapping[str, Any], *, parts: int | None = None
) -> int:
    """Write records and `metadata` (source, seed, …) to Parquet; return the number of records.

    With `parts`, `path` is a folder of that many files. Every record is checked first, and what is written appears
    under its name only when complete. A feature that is None is not written, as if it were absent. One chunk of records
    is held in memory; all wait in a temporary file beside `path` until their fields are known. Raises `ListFileError`.
    """
    require_replaceable(path, parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file beside `path` vanishes at the end, however that comes about.
    with named_if_full(path), tempfile.TemporaryFile(dir=path.parent) as file:
        spool = Spool(path, file)
        spool.fill(records)
        if not spool.rows:
            raise ListFileError(f"{path}: there are no lists to write")
        schema = spool.schema()
        write_tables(path, schema, spool.tables(schema), metadata, rows=spool.rows, parts=parts)
        return spool.rows


def write_tables(
    path: Path,
    schema: pa.Schema,
    tables: Iterator[pa.Table],
    metadata: Mapping[str, Any],
    *,
    rows: int,
    parts: int | None = None,
) -> None:
    """Write lists that are checked already, as `write_lists` does.

    All `tables` have the `schema`, and there are `rows` lists in all. Raises `ListFileError`.
    """
    require_replaceable(path, parts)
    schema = noted(schema, metadata)
    if parts is None:
        with whole_file(path) as partial:
            write_file(partial, schema, tables)
        return
    shares = part_rows(path, rows, parts)
    with whole_folder(path) as folder:
        _write_parts(folder, schema, tables, shares)


def noted(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of files that say `metadata`."""
    return schema.with_metadata({METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()})


def part_rows(path: Path, rows: int, parts: int) -> list[range]:
    """Share rows evenly among parts. Raises `ListFileError` for more parts than rows."""
    if parts > rows:
        raise ListFileError(f"{path}: {rows} lists do not fill {parts} parts")
    return [range(rows * part // parts, rows * (part + 1) // parts) for part in range(parts)]


def part_name(part: int) -> str:
    """Name a part file by its number."""
    return f"part-{part:05}.parquet"


def require_replaceable(path: Path, parts: int | None) -> None:
    """Refuse to replace what is not of the kind to be written.

    A folder that holds anything but parts is never replaced. Raises `ListFileError`.
    """
    if parts is None:
        if path.is_dir():
            raise ListFileError(f"{path}: is a folder, and one file is to be written")
        return
    if parts < 1:
        raise ListFileError(f"{path}: cannot be written in {parts} parts")
    if path.is_dir():
        others = [entry.name for entry in path.iterdir() if not entry.match("part-*.parquet")]
        if others:
            raise ListFileError(f"{path}: holds {min(others)!r} besides part files and is not replaced")
    elif path.exists():
        raise ListFileError(f"{path}: is a file, and a folder of parts is to be written")


def write_file(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write one file of tables that have its schema, a row group each."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=CHUNK)


def _write_parts(folder: Path, schema: pa.Schema, tables: Iterator[pa.Table], shares: Sequence[range]) -> None:
    """Cut the lists into parts of so many rows."""
    rest = schema.empty_table()
    for part, rows in enumerate(shares):
        left = len(rows)
        with pq.ParquetWriter(folder / part_name(part), schema, compression="zstd") as writer:
            while left:
                if not rest.num_rows:
                    rest = next(tables)
                taken = rest.slice(0, left)
                writer.write_table(taken, row_group_size=CHUNK)
                left -= taken.num_rows
                rest = rest.slice(taken.num_rows)
