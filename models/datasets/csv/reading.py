"""Read a CSV file as blocks of text columns, and find the lines of rows.

Rows count from 0 without the header and without blank lines; lines count from 1 as an editor shows them. A quoted cell
may span lines, so the line of a row is found by a second reading, only when an error needs it.
"""

from __future__ import annotations

import csv as plain_csv
import difflib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from models.datasets.csv.form import CsvChoices, TableError, detect_form, open_bytes, open_text, shortened, undecodable

BLOCK: Final = 1 << 24
"""Bytes that are parsed at once, and the most that one row may have."""

_NAMED: Final = 30
"""How many columns a message lists at most."""


class CsvFile:
    """Read one CSV file with a header. All methods raise `TableError`."""

    def __init__(self, path: Path, choices: CsvChoices | None = None) -> None:
        self.path = path
        self.choices = choices or CsvChoices()
        with self._reading():
            self.form = detect_form(path, self.choices)

    def place(self, column: str) -> int:
        """Return the place of a column, which must stand once in the header."""
        header = self.form.header
        if header.count(column) == 1:
            return header.index(column)
        if column in header:
            places = " and ".join(str(i + 1) for i, name in enumerate(header) if name == column)
            raise TableError(f"{self.path}: column {column!r} stands twice in the header, as columns {places}")
        close = difflib.get_close_matches(column.lower(), [name.lower() for name in header], 1, 0.75)
        near = [name for name in header if name.lower() in close]
        listed = ", ".join(map(shortened, header[:_NAMED])) + (", …" if len(header) > _NAMED else "")
        hint = f"; is it {shortened(near[0])!r}?" if near else f"; the columns are: {listed}"
        if len(header) == 1:
            other = "" if self.choices.encoding is None else ", or another --encoding"
            hint += f" (one column only: name the delimiter with --delimiter{other})"
        raise TableError(f"{self.path}: there is no column {column!r}{hint}")

    def blocks(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read `columns` as text without blanks around it, some rows at a time.

        Columns are numbered in the order given. A file without rows is an error.
        """
        places = [self.place(column) for column in columns]
        rows = 0
        with self._reading(), open_bytes(self.path, self.form.compression) as stream:
            source = _Source(stream)
            for batch in self._open(source, places):
                rows += batch.num_rows
                trimmed = [pc.utf8_trim_whitespace(column) for column in batch.columns]
                yield pa.RecordBatch.from_arrays(trimmed, [str(i) for i in range(len(columns))])
        if source.quotes % 2 or source.escaped:
            self._require_closed_quotes()
        if not rows:
            raise TableError(f"{self.path}: holds no rows, only a header")

    def error(self, row: int, column: str, problem: str) -> TableError:
        """Make an error about a cell of row `row`."""
        return TableError(f"{self.path}: line {self.line(row)}, column {column}: {problem}")

    def line(self, row: int) -> int:
        """Find the first line of a row."""
        return next(islice(self._rows(), row, None))[0]

    def _open(self, source: _Source, places: Sequence[int]) -> csv.CSVStreamingReader:
        names = [str(i) for i in range(len(self.form.header))]
        wanted = [names[place] for place in places]
        read = csv.ReadOptions(
            use_threads=False, block_size=BLOCK, encoding="utf8" if self.form.encoding == "utf-8"
            else self.form.encoding, column_names=names, skip_rows=self.form.header_lines,
        )  # fmt: skip
        parse = csv.ParseOptions(
            delimiter=self.form.delimiter, newlines_in_values=True, ignore_empty_lines=True,
            invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
        )  # fmt: skip
        convert = csv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
        )
        return csv.open_csv(source, read_options=read, parse_options=parse, convert_options=convert)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise `TableError` naming the line where the file cannot be read."""
        try:
            yield
        except (pa.ArrowInvalid, UnicodeError) as error:
            self._find_undecodable()
            self._find_ragged()
            raise TableError(f"{self.path}: cannot be read: {error}") from error
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            raise TableError(f"{self.path}: cannot be read: {error}") from error

    def _find_undecodable(self) -> None:
        """Raise `TableError` about the first line that is not text in the file's encoding."""
        with open_text(self.form) as lines:
            try:
                for number, line in enumerate(lines, start=1):
                    if any("\udc80" <= character <= "\udcff" for character in line):
                        raise undecodable(self.path, number, self.form.encoding)
            except UnicodeError as error:
                raise TableError(f"{self.path}: is not text in {self.form.encoding}: {error}") from error

    def _find_ragged(self) -> None:
        """Raise `TableError` about the first row of another width than the header."""
        width = len(self.form.header)
        for line, cells in self._rows():
            if len(cells) != width:
                problem = f"has {len(cells)} columns, but the header has {width}"
                raise TableError(f"{self.path}: line {line}: {problem}")

    def _require_closed_quotes(self) -> None:
        """Raise `TableError` about the first quote that is neither closed nor doubled."""
        for _ in self._rows(strict=True):
            pass

    def _rows(self, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Read every row again, slowly, with its first line."""
        with open_text(self.form) as lines:
            for _ in islice(lines, self.form.header_lines):
                pass
            reader = plain_csv.reader(lines, delimiter=self.form.delimiter, strict=strict)
            last = 0
            try:
                for cells in reader:
                    line, last = last + 1, reader.line_num
                    if len(cells) > 1 or (cells and cells[0].strip()):
                        yield line + self.form.header_lines, cells
            except plain_csv.Error as error:
                line = self.form.header_lines + last + 1
                problem = (
                    f"cannot be read from here; is a quote never closed? A quote within quotes is doubled ({error})"
                )
                raise TableError(f"{self.path}: line {line}: {problem}") from error


class _Source(io.RawIOBase):
    """Pass bytes on and look at their quotes.

    Their number is odd where a quote is never closed. `escaped` tells whether any stands behind a backslash, by which
    some tools write a quote within quotes; in CSV it is doubled, and the parser would take the first for the end.
    """

    def __init__(self, stream: pa.NativeFile) -> None:
        super().__init__()
        self.quotes = 0
        self.escaped = False
        self._last = b""
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._stream.read(size if size >= 0 else None)
        self.quotes += data.count(b'"')
        self.escaped = self.escaped or b'\\"' in data or (self._last == b"\\" and data.startswith(b'"'))
        self._last = data[-1:]
        return data
