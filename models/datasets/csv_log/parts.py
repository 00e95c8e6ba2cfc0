"""Sort the rows of a log into parts on disk.

All rows of a request lie in one part, though they need not be adjacent in the log. A part fits in memory; the whole log
need not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Ints
from models.datasets.csv import cells
from models.datasets.csv.form import TableError
from models.datasets.csv.reading import CsvFile
from models.datasets.csv_log.profile import Profile

PART_BYTES: Final = 1 << 25
"""Bytes of CSV, unpacked, that a part holds on average."""

_MOST_PARTS: Final = 256
_UNPACKED: Final = 8
"""Times that a compressed log is taken to grow."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold rows of a log as text columns.

    `file` and `row` say where each came from.
    """

    files: Sequence[CsvFile]
    file: Ints
    row: Ints
    text: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, order: Ints) -> Rows:
        """Select rows, in that order."""
        at = pa.array(order)
        text = {name: column.take(at) for name, column in self.text.items()}
        return Rows(self.files, self.file[order], self.row[order], text)

    def error(self, place: int, column: str, problem: str) -> TableError:
        """Make an error about the row at `place`."""
        file = self.files[int(self.file[place])]
        return file.error(int(self.row[place]), column, problem)

    def line(self, place: int, beside: int) -> str:
        """Name the line of a row in a message about the row `beside`."""
        file = self.files[int(self.file[place])]
        where = "" if self.file[place] == self.file[beside] else f" of {file.path}"
        return f"line {file.line(int(self.row[place]))}{where}"


class Parts:
    """Write rows to the parts' files in `folder`, then read part after part."""

    def __init__(self, folder: Path, files: Sequence[CsvFile], columns: Sequence[str]) -> None:
        self._folder, self._files, self._columns = folder, files, columns
        self._count = _count(files)
        self._schema = pa.schema(
            [("file", pa.int16()), ("row", pa.int64()), *((str(i), pa.string()) for i in range(len(columns)))]
        )
        self._writers: list[pa.RecordBatchFileWriter] = []

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writers = [pa.ipc.new_file(str(self._path(i)), self._schema, options=options) for i in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.close()

    def add(self, file: int, first: int, columns: Sequence[pa.Array], request: pa.DictionaryArray) -> None:
        """Add a block whose first row is row `first` of file number `file`."""
        rows = len(request)
        numbered = [pa.array(np.full(rows, file, np.int16)), pa.array(np.arange(first, first + rows)), *columns]
        batch = pa.RecordBatch.from_arrays(numbered, schema=self._schema)
        if self._count == 1:
            self._writers[0].write_batch(batch)
            return
        part = _part_of(request, self._count)
        order = np.argsort(part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=self._count))
        batch = batch.take(pa.array(order))
        for writer, begin, end in zip(self._writers, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            if end > begin:
                writer.write_batch(batch.slice(begin, end - begin))

    def read(self, part: int, columns: Sequence[str] | None = None) -> Rows:
        """Read the rows of one part in the log's order."""
        wanted = list(self._columns) if columns is None else list(columns)
        places = [0, 1, *(2 + self._columns.index(column) for column in wanted)]
        with pa.OSFile(str(self._path(part))) as file:
            options = pa.ipc.IpcReadOptions(included_fields=sorted(places))
            table = pa.ipc.open_file(file, options=options).read_all().combine_chunks()
        text = {column: table[str(self._columns.index(column))].combine_chunks() for column in wanted}
        file, row = (table[name].to_numpy().astype(np.int64) for name in ("file", "row"))
        return Rows(self._files, file, row, text)

    def _path(self, part: int) -> Path:
        return self._folder / f"{part}.arrow"


def split_rows(
    parts: Parts,
    files: Sequence[CsvFile],
    columns: Sequence[str],
    profiles: Mapping[str, Profile],
    *,
    request: str,
    missing: Sequence[str],
    told: Callable[[int], object],
) -> None:
    """Read all files once into the parts and profiles.

    `missing` are words that stand for an empty cell. `told` is called with the number of rows of each block.
    """
    words = pa.array(missing, pa.string())
    for number, file in enumerate(files):
        first = 0
        for block in file.blocks(columns):
            texts = [pc.if_else(pc.is_in(text, value_set=words), "", text) for text in block.columns]
            by_name = dict(zip(columns, texts, strict=True))
            for name, profile in profiles.items():
                profile.add(by_name[name].dictionary_encode(), file, first)
            parts.add(number, first, texts, by_name[request].dictionary_encode())
            first += block.num_rows
            told(block.num_rows)


def all_parts(parts: Parts, columns: Sequence[str] | None = None) -> Iterator[Rows]:
    """Read the parts that hold rows, one at a time."""
    for i in range(len(parts)):
        rows = parts.read(i, columns)
        if len(rows):
            yield rows


def _count(files: Sequence[CsvFile]) -> int:
    sizes = [f.path.stat().st_size * (_UNPACKED if f.form.compression else 1) for f in files]
    return min(1 + sum(sizes) // PART_BYTES, _MOST_PARTS)


def _part_of(request: pa.DictionaryArray, count: int) -> Ints:
    """Hash each request to a part.

    33 and 33.0 share one, since they may turn out to be the same id.
    """
    words = cells.without_zero_fraction(request.dictionary).to_pylist()
    parts = np.array([zlib.crc32(word.encode()) % count for word in words], np.int64)
    found: Ints = parts[request.indices.to_numpy()]
    return found
