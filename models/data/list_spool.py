"""Keep list records in a file until the fields of all are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Final

import numpy as np
import pyarrow as pa

from models.data.reading.field_types import FieldTypes
from models.data.reading.request_ids import RequestIds
from models.data.reading.window_checks import check_request_ids, check_window
from models.data.reading.window_reading import read_window
from models.data.record_table import record_table, widened
from models.data.records import ListRecord

CHUNK: Final = 2048
"""Records that are held in memory, and rows of a row group."""


class Spool:
    """Check records and keep them in an open file.

    They are the rows from `first` on of the list file that `path` names in messages.
    """

    def __init__(self, path: Path, file: IO[bytes], first: int = 0) -> None:
        self.rows = self.chunks = 0
        self._path, self._file, self._first = path, file, first
        self._schemas: list[pa.Schema] = []
        self._types = FieldTypes()
        self._seen = RequestIds(self._request_ids)

    def fill(self, records: Iterable[ListRecord]) -> None:
        """Add records, cut where a file of all rows would be cut. Raises `ListFileError`."""
        stream = iter(records)
        while chunk := list(islice(stream, CHUNK - (self._first + self.rows) % CHUNK)):
            self._add(chunk)

    def schema(self) -> pa.Schema:
        """Join the fields of all records."""
        return joined(self._schemas)

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Read the records again, chunk by chunk, with the fields of all."""
        return spooled(self._file, self.chunks, schema)

    def _add(self, records: list[ListRecord]) -> None:
        begin = self._first + self.rows
        table = record_table(records, str(self._path), begin)
        rows = np.arange(begin, begin + len(records))
        self._types.add(table.schema, rows_text(self._path, rows[0], rows[-1]))
        window = read_window(table.to_batches()[0], str(self._path), rows, FieldTypes())
        check_window(window)
        check_request_ids(window, self._seen)
        self._file.seek(0, 2)
        with pa.ipc.new_stream(self._file, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_table(table)
        if table.schema not in self._schemas:
            self._schemas.append(table.schema)
        self.chunks += 1
        self.rows += len(records)

    def _request_ids(self) -> Iterator[pa.Array]:
        return (table["request_id"].combine_chunks() for table in _raw(self._file, self.chunks))


def spooled(file: IO[bytes], chunks: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read the chunks of a spool's file, with the fields of a schema."""
    return (widened(table, schema) for table in _raw(file, chunks))


def joined(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Join the fields of schemas, whose types join."""
    return pa.unify_schemas(list(schemas), promote_options="permissive")


def rows_text(path: Path, first: int, last: int) -> str:
    """Name rows of a list file in a message."""
    return f"{path}: rows {first} to {last}"


def _raw(file: IO[bytes], chunks: int) -> Iterator[pa.Table]:
    file.seek(0)
    for _ in range(chunks):
        yield pa.ipc.open_stream(file).read_all()
