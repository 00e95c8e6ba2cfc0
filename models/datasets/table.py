"""Read delimited text as columns, with errors that name file, line and column.

Lines count from 1, the header included.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from models.contract.arrays import Floats, Ints

_NULLS = ("", "NULL")


class TableError(ValueError):
    """Report a source file that cannot be used, by file, line and column."""


class Table:
    """Hold columns of text, all of one length.

    They are kept as they are given: Arrow's columns take a tenth of the memory of lists.
    """

    def __init__(self, path: Path, columns: Mapping[str, list[str] | pa.ChunkedArray], first_line: int) -> None:
        self.path = path
        self.rows = len(next(iter(columns.values()), []))
        self._columns = columns
        self._first_line = first_line

    def text(self, name: str) -> list[str]:
        """Return a column as written."""
        values = self._columns[name]
        if isinstance(values, list):
            return values
        encoded = values.combine_chunks().dictionary_encode()
        words = encoded.dictionary.to_pylist()  # one string for all rows that hold it
        return [words[code] for code in encoded.indices.to_pylist()]

    def key(self, name: str) -> list[str]:
        """Return a column in which every row must have a value."""
        values = self.text(name)
        for i, value in enumerate(values):
            if value in _NULLS:
                raise self.error(i, name, "is empty")
        return values

    def ordered(self, name: str, order: Ints) -> list[str]:
        """Return `key` in the order of rows given."""
        values = self.key(name)
        return [values[i] for i in order.tolist()]

    def number(
        self, name: str, *, low: float = -np.inf, high: float = np.inf, whole: bool = False, optional: bool = False
    ) -> Floats:
        """Parse a column as float64.

        An empty cell is NaN where `optional`. Any other cell that is no number between `low` and `high`, or no whole
        one where `whole`, raises `TableError`.
        """
        values = self.text(name)
        try:
            numbers = np.array([np.nan if v in _NULLS else v for v in values], np.float64)
        except ValueError:
            raise self._unreadable(name, values) from None
        empty = np.array([v in _NULLS for v in values], bool)
        wrong = ~empty & ~((numbers >= low) & (numbers <= high) & np.isfinite(numbers))
        if whole:
            wrong |= ~empty & (numbers != np.round(numbers))
        if not optional:
            wrong |= empty
        if wrong.any():
            row = int(wrong.argmax())
            kind = "a whole number" if whole else "a number"
            raise self.error(row, name, f"must be {kind} between {low:g} and {high:g}, not {values[row]!r}")
        return numbers

    def flag(self, name: str) -> Ints:
        """Parse a column of 0 and 1."""
        return self.number(name, low=0, high=1, whole=True).astype(np.int64)

    def error(self, row: int, column: str, problem: str) -> TableError:
        """Make an error about row `row` (from 0) of this table."""
        return TableError(f"{self.path}: line {row + self._first_line}, column {column}: {problem}")

    def _unreadable(self, name: str, values: Sequence[str]) -> TableError:
        for row, value in enumerate(values):
            try:
                float(value or "nan")
            except ValueError:
                if value not in _NULLS:
                    return self.error(row, name, f"must be a number, not {value[:40]!r}")
        return TableError(f"{self.path}: column {name}: holds something that is not a number")


def read_csv(path: Path, columns: Sequence[str]) -> Table:
    """Read `columns` of a CSV file with a header, plain or .gz. Raises `TableError`."""
    options = csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    try:
        table = csv.read_csv(
            path, read_options=csv.ReadOptions(use_threads=False), parse_options=parse, convert_options=options
        )
    except pa.ArrowKeyError as error:
        missing = next((c for c in columns if f"'{c}'" in str(error)), str(error))
        raise TableError(f"{path}: there is no column {missing!r}") from error
    except (OSError, pa.ArrowException) as error:
        message = str(error).replace("Row #", "line ")
        raise TableError(f"{path}: cannot be read: {message}") from error
    if not table.num_rows:
        raise TableError(f"{path}: holds no rows")
    return Table(path, {name: table.column(name) for name in columns}, first_line=2)


def read_delimited(path: Path, columns: Sequence[str], *, separator: str, encoding: str) -> Table:
    """Read a file without header, with columns between `separator`. Raises `TableError`."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = raw.decode(encoding).splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from error
    rows = [line.split(separator) for line in lines]
    for i, row in enumerate(rows):
        if len(row) != len(columns):
            raise TableError(
                f"{path}: line {i + 1}: has {len(row)} columns parted by {separator!r}, not {len(columns)}"
            )
    if not rows:
        raise TableError(f"{path}: holds no rows")
    parts = list(zip(*rows, strict=True))
    return Table(path, {name: list(part) for name, part in zip(columns, parts, strict=True)}, first_line=1)
