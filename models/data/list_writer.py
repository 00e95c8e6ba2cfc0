"""Write list records to a Parquet file or to a folder of part files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.data.list_file import METADATA_KEY
from models.data.reading.field_types import FieldTypes
from models.data.reading.request_ids import RequestIds
from models.data.reading.window_checks import check_request_ids, check_window
from models.data.reading.window_reading import read_window
from models.data.record_table import record_table, widened
from models.data.records import ListFileError, ListRecord
from models.files import whole_file, whole_folder

_CHUNK: Final = 2048
_PART: Final = "part-{:05}.parquet"


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
    with _Spool.open(path) as spool:
        stream = iter(records)
        while chunk := list(islice(stream, _CHUNK)):
            spool.add(chunk)
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
    schema = schema.with_metadata({METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()})
    if parts is None:
        with whole_file(path) as partial:
            _write(partial, schema, tables)
    elif parts > rows:
        raise ListFileError(f"{path}: {rows} lists do not fill {parts} parts")
    else:
        with whole_folder(path) as folder:
            _write_parts(folder, schema, tables, [rows * (part + 1) // parts for part in range(parts)])


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


class _Spool:
    """Hold checked records in a temporary file until all their fields are known."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.rows = 0
        self._path, self._file = path, file
        self._schemas: list[pa.Schema] = []
        self._chunks = 0
        self._types = FieldTypes()
        self._seen = RequestIds(self._request_ids)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a file beside `path` that vanishes at the end, however that comes about."""
        with tempfile.TemporaryFile(dir=path.parent) as file:
            yield cls(path, file)

    def add(self, records: list[ListRecord]) -> None:
        """Check records and keep them."""
        table = record_table(records, str(self._path), self.rows)
        rows = np.arange(self.rows, self.rows + len(records))
        self._types.add(table.schema, f"{self._path}: rows {rows[0]} to {rows[-1]}")
        window = read_window(table.to_batches()[0], str(self._path), rows, FieldTypes())
        check_window(window)
        check_request_ids(window, self._seen)
        self._file.seek(0, 2)
        with pa.ipc.new_stream(self._file, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_table(table)
        if table.schema not in self._schemas:
            self._schemas.append(table.schema)
        self._chunks += 1
        self.rows += len(records)

    def schema(self) -> pa.Schema:
        """Join the fields of all records."""
        return pa.unify_schemas(self._schemas, promote_options="permissive")

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Read the records again, chunk by chunk, with the fields of all."""
        return (widened(table, schema) for table in self._raw())

    def _raw(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        for _ in range(self._chunks):
            yield pa.ipc.open_stream(self._file).read_all()

    def _request_ids(self) -> Iterator[pa.Array]:
        return (table["request_id"].combine_chunks() for table in self._raw())


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=_CHUNK)


def _write_parts(folder: Path, schema: pa.Schema, tables: Iterator[pa.Table], ends: Sequence[int]) -> None:
    """Cut the lists into parts, each before one of `ends`."""
    rest, begin = schema.empty_table(), 0
    for part, end in enumerate(ends):
        with pq.ParquetWriter(folder / _PART.format(part), schema, compression="zstd") as writer:
            while begin < end:
                if not rest.num_rows:
                    rest = next(tables)
                taken = rest.slice(0, end - begin)
                writer.write_table(taken, row_group_size=_CHUNK)
                begin += taken.num_rows
                rest = rest.slice(taken.num_rows)
