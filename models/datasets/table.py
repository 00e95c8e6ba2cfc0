"""Read delimited text as columns, with errors that name file, line and column.

Lines count from 1, the header included. `read_csv` and `read_delimited` keep every cell as text. `read_columns` parses
numbers block by block, for files of tens of millions of rows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from models.contract.arrays import Floats, Ints

ColumnKind = Literal["integer", "optional integer", "number", "text"]
"""Whole numbers of at least 0 (an optional one is −1 where it is missing), other numbers of at least 0, or text."""

ColumnValues = NDArray[Any]

_NULLS: Final = ("", "NULL")
_BLOCK: Final = 1 << 24
_INTEGER: Final = r"^[0-9]{1,18}$"
_NUMBER: Final = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"


class TableError(ValueError):
    """Report a source file that cannot be used, by file, line and column."""


class Table:
    """Hold columns of text in Arrow, a tenth of the memory of lists."""

    def __init__(self, path: Path, columns: Mapping[str, pa.ChunkedArray], first_line: int) -> None:
        self._path = path
        self._columns = columns
        self._first_line = first_line

    def text(self, name: str) -> list[str]:
        """Return a column as written."""
        encoded = self._columns[name].combine_chunks().dictionary_encode()
        words = encoded.dictionary.to_pylist()  # one string for all rows that hold it
        return [words[code] for code in encoded.indices.to_pylist()]

    def key(self, name: str) -> list[str]:
        """Return a column in which every row must have a value."""
        values = self.text(name)
        for i, value in enumerate(values):
            if value in _NULLS:
                raise self.error(i, name, "is empty")
        return values

    def ids(self, name: str) -> list[str]:
        """Return `key`, in which every value must stand once."""
        values, seen = self.key(name), set[str]()
        for row, value in enumerate(values):
            if value in seen:
                raise self.error(row, name, f"{value!r} stands twice")
            seen.add(value)
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
            row = next(i for i, value in enumerate(values) if not _is_number(value))
            raise self.error(row, name, f"must be a number, not {values[row][:40]!r}") from None
        sound = (numbers >= low) & (numbers <= high) & np.isfinite(numbers)
        if whole:
            sound &= numbers == np.round(numbers)
        if optional:
            sound |= np.array([v in _NULLS for v in values], bool)
        if not sound.all():
            row = int(sound.argmin())
            kind = "a whole number" if whole else "a number"
            raise self.error(row, name, f"must be {kind} between {low:g} and {high:g}, not {values[row]!r}")
        return numbers

    def flag(self, name: str) -> Ints:
        """Parse a column of 0 and 1."""
        return self.number(name, low=0, high=1, whole=True).astype(np.int64)

    def error(self, row: int, column: str, problem: str) -> TableError:
        """Make an error about row `row` (from 0) of this table."""
        return _error(self._path, row + self._first_line, column, problem)


class Columns:
    """Hold arrays of one length; a column of text holds numbers, into `words` [column]."""

    def __init__(self, path: Path, arrays: dict[str, ColumnValues], words: dict[str, list[str]]) -> None:
        self.words = words
        self._path = path
        self._arrays = arrays

    def __getitem__(self, name: str) -> ColumnValues:
        return self._arrays[name]

    def refuse(self, column: str, wrong: NDArray[np.bool_], problem: str) -> None:
        """Raise `TableError` about the first row that is `wrong` [n], if there is one."""
        if wrong.any():
            row = int(wrong.argmax())
            raise _error(self._path, row + 2, column, f"{self[column][row]} {problem}")

    def ids(self, column: str) -> Ints:
        """Return a column of integers, in which every value must stand once."""
        again = np.ones(len(self[column]), bool)
        again[np.unique(self[column], return_index=True)[1]] = False
        self.refuse(column, again, "stands twice")
        return self[column]


def read_csv(path: Path, columns: Sequence[str]) -> Table:
    """Read `columns` of a CSV file with a header, plain or .gz. Raises `TableError`."""
    with _reading(path):
        table = _open(path, columns).read_all()
    if not table.num_rows:
        raise TableError(f"{path}: holds no rows")
    return Table(path, dict(zip(columns, table.columns, strict=True)), first_line=2)


def read_delimited(path: Path, columns: Sequence[str], *, separator: str, encoding: str) -> Table:
    """Read a file without header, with columns between `separator`. Raises `TableError`."""
    with _reading(path):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = [line.split(separator) for line in raw.decode(encoding).splitlines()]
    for i, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise TableError(f"{path}: line {i}: has {len(row)} columns parted by {separator!r}, not {len(columns)}")
    if not rows:
        raise TableError(f"{path}: holds no rows")
    parts = (pa.chunked_array([part], pa.string()) for part in zip(*rows, strict=True))
    return Table(path, dict(zip(columns, parts, strict=True)), first_line=1)


def read_columns(path: Path, kinds: Mapping[str, ColumnKind]) -> Columns:
    """Read the columns in `kinds` of a CSV file with a header, plain or .gz.

    Blanks around values are ignored. Raises `TableError` for a missing file or column, a row of another width, or a
    value that is not of its kind.
    """
    parts: dict[str, list[ColumnValues]] = {name: [] for name in kinds}
    words: dict[str, dict[str, int]] = {name: {} for name, kind in kinds.items() if kind == "text"}
    rows = 0
    with _reading(path):
        for batch in _open(path, kinds):
            for (name, kind), column in zip(kinds.items(), batch.columns, strict=True):
                text = pc.utf8_trim_whitespace(column)
                parts[name].append(_parse(path, rows, name, text, kind, words))
            rows += batch.num_rows
    if not rows:
        raise TableError(f"{path}: holds no rows")
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    return Columns(path, arrays, {name: list(seen) for name, seen in words.items()})


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise `TableError` naming the file where it cannot be read."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pa.ArrowException) as error:
        raise TableError(f"{path}: cannot be read: {str(error).replace('Row #', 'line ')}") from error


def _error(path: Path, line: int, column: str, problem: str) -> TableError:
    return TableError(f"{path}: line {line}, column {column}: {problem}")


def _open(path: Path, columns: Iterable[str]) -> csv.CSVStreamingReader:
    """Open the columns as text, in this order, ignoring blanks around their names."""
    options = csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    with csv.open_csv(path, read_options=options, parse_options=parse) as header:
        names = {name.strip(): name for name in header.schema.names}
    for name in columns:
        if name not in names:
            raise TableError(f"{path}: there is no column {name!r}")
    wanted = [names[name] for name in columns]
    convert = csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
    )
    return csv.open_csv(path, read_options=options, parse_options=parse, convert_options=convert)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in _NULLS
    return True


def _parse(
    path: Path, first: int, name: str, text: pa.Array, kind: ColumnKind, words: dict[str, dict[str, int]]
) -> ColumnValues:
    """Parse one block of a column, whose first row is row `first` of the file."""
    empty = pc.is_in(text, value_set=pa.array(_NULLS))
    if kind != "optional integer":
        _require(path, first, name, text, pc.invert(empty), "is empty")
    if kind == "text":
        return _numbered(text, words[name])
    if kind == "optional integer":
        text = pc.if_else(empty, "0", text)
    pattern, say = (_NUMBER, "a number") if kind == "number" else (_INTEGER, "a whole number")
    sound = pc.match_substring_regex(text, pattern)
    _require(path, first, name, text, sound, f"must be {say} of at least 0, not {{}}")
    values: ColumnValues = pc.cast(text, pa.float64() if kind == "number" else pa.int64()).to_numpy()
    return np.where(empty.to_numpy(zero_copy_only=False), -1, values) if kind == "optional integer" else values


def _require(path: Path, first: int, name: str, text: pa.Array, sound: pa.Array, problem: str) -> None:
    """Raise `TableError` about the first value that is not sound."""
    wrong = pc.index(sound, False).as_py()
    if wrong >= 0:
        raise _error(path, first + wrong + 2, name, problem.format(repr(text[wrong].as_py()[:40])))


def _numbered(text: pa.Array, seen: dict[str, int]) -> ColumnValues:
    """Number each value, in order of appearance over all blocks."""
    encoded = text.dictionary_encode()
    numbers = [seen.setdefault(word, len(seen)) for word in encoded.dictionary.to_pylist()]
    codes: ColumnValues = np.array(numbers, np.int64)[encoded.indices.to_numpy()]
    return codes
