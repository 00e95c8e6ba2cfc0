"""Hold columns of a source file, with errors that name file, line and column.

Lines count from 1, the header included. `read_csv` keeps text, each different value once, and parses a column when it
is asked for. `read_columns` parses numbers block by block, for files of tens of millions of rows. Both read any form of
CSV that `models/datasets/csv/` knows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.contract.arrays import Bools, Floats, Ints
from models.datasets.csv import cells
from models.datasets.csv.form import CsvChoices, Decimal, TableError
from models.datasets.csv.reading import CsvFile

__all__ = ["ColumnKind", "Columns", "Table", "TableError", "read_columns", "read_csv", "read_delimited"]

ColumnKind = Literal["integer", "optional integer", "number", "text"]
"""Whole numbers of at least 0 (an optional one is −1 where it is missing), other numbers of at least 0, or text."""

ColumnValues = NDArray[Any]
_ErrorMaker = Callable[[int, str, str], TableError]
"""Makes an error about a row (from 0) and column."""

_NULLS: Final = ("", "NULL")


class TextColumn:
    """Hold a column of text as codes into its different words, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: list[Ints] = []

    def append(self, text: pa.Array) -> None:
        """Add the cells of one block."""
        encoded = text.dictionary_encode()
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in encoded.dictionary.to_pylist()]
        codes = np.array(numbers, _least_type(len(self._numbers)))
        self._parts.append(codes[encoded.indices.to_numpy()])

    def finish(self) -> tuple[Ints, list[str]]:
        """Return the codes, in the smallest integer type, and the words."""
        codes = np.concatenate(self._parts)
        self._parts.clear()
        return codes, list(self._numbers)


class Table:
    """Hold columns of text by their different words, parsed when asked for."""

    def __init__(
        self, columns: Mapping[str, tuple[Ints, list[str]]], error: _ErrorMaker, decimal: Decimal = "."
    ) -> None:
        self._columns = columns
        self._decimal = decimal
        self.error = error

    def text(self, name: str) -> list[str]:
        """Return a column as written, without blanks around it."""
        codes, words = self._columns[name]
        return [words[code] for code in codes.tolist()]

    def key(self, name: str) -> list[str]:
        """Return a column in which every row must have a value.

        Where every value is a whole number, 33.0 is 33: that is how tools write whole numbers in a column with gaps.
        """
        words = self._key_words(name)
        return [words[code] for code in self._columns[name][0].tolist()]

    def codes(self, name: str) -> Ints:
        """Number the values of `key` in order of appearance."""
        numbers: dict[str, int] = {}
        by_code = [numbers.setdefault(word, len(numbers)) for word in self._key_words(name)]
        return np.array(by_code, np.int64)[self._columns[name][0]]

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
        words = self._key_words(name)
        return [words[code] for code in self._columns[name][0][order].tolist()]

    def number(
        self, name: str, *, low: float = -np.inf, high: float = np.inf, whole: bool = False, optional: bool = False
    ) -> Floats:
        """Parse a column as float64.

        An empty cell is NaN where `optional`. Any other cell that is no number between `low` and `high`, or no whole
        one where `whole`, raises `TableError`.
        """
        codes, words = self._columns[name]
        values = cells.numbers(pa.array(words, pa.string()), self._decimal)
        missing = np.isin(words, _NULLS)
        kind = "a whole number" if whole else "a number"
        unknown = np.isnan(values) & ~(missing & optional)
        self._refuse(name, unknown, "must be a number")
        outside = ~((values >= low) & (values <= high)) & ~missing
        if whole:
            outside |= ~missing & (values != np.round(values))
        self._refuse(name, outside, f"must be {kind} between {low:g} and {high:g}")
        numbers: Floats = values[codes]
        return numbers

    def flag(self, name: str) -> Ints:
        """Parse a column of 0 and 1."""
        return self.number(name, low=0, high=1, whole=True).astype(np.int64)

    def _key_words(self, name: str) -> list[str]:
        codes, words = self._columns[name]
        wrong = np.isin(words, _NULLS)
        if wrong.any():
            raise self.error(int(wrong[codes].argmax()), name, "is empty")
        text = pa.array(words, pa.string())
        if cells.matches(text, cells.WHOLE_AS_FLOAT).all():
            return list(cells.without_zero_fraction(text).to_pylist())
        return words

    def _refuse(self, name: str, wrong: Bools, problem: str) -> None:
        """Raise `TableError` about the first row whose word is wrong."""
        codes, words = self._columns[name]
        if wrong.any():
            row = int(wrong[codes].argmax())
            word = words[codes[row]]
            hint = cells.number_hint(word, self._decimal)
            raise self.error(row, name, f"{problem}, not {word[:40]!r}{hint}")


class Columns:
    """Hold arrays of one length; a column of text holds numbers, into `words` [column]."""

    def __init__(self, arrays: dict[str, ColumnValues], words: dict[str, list[str]], error: _ErrorMaker) -> None:
        self.words = words
        self._arrays = arrays
        self._error = error

    def __getitem__(self, name: str) -> ColumnValues:
        return self._arrays[name]

    def refuse(self, column: str, wrong: NDArray[np.bool_], problem: str) -> None:
        """Raise `TableError` about the first row that is `wrong` [n], if there is one."""
        if wrong.any():
            row = int(wrong.argmax())
            raise self._error(row, column, f"{self[column][row]} {problem}")

    def ids(self, column: str) -> Ints:
        """Return a column of integers, in which every value must stand once."""
        again = np.ones(len(self[column]), bool)
        again[np.unique(self[column], return_index=True)[1]] = False
        self.refuse(column, again, "stands twice")
        return self[column]


def read_csv(path: Path, columns: Sequence[str], choices: CsvChoices | None = None) -> Table:
    """Read `columns` of a CSV file with a header. Raises `TableError`."""
    file = CsvFile(path, choices)
    texts = {name: TextColumn() for name in columns}
    for block in file.blocks(columns):
        for text, column in zip(texts.values(), block.columns, strict=True):
            text.append(column)
    return Table({name: text.finish() for name, text in texts.items()}, file.error, file.choices.decimal)


def read_delimited(path: Path, columns: Sequence[str], *, separator: str, encoding: str) -> Table:
    """Read a file without header, with columns between `separator`. Raises `TableError`."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        rows = [line.split(separator) for line in raw.decode(encoding).splitlines()]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from error
    for i, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise TableError(f"{path}: line {i}: has {len(row)} columns parted by {separator!r}, not {len(columns)}")
    if not rows:
        raise TableError(f"{path}: holds no rows")
    texts = {name: TextColumn() for name in columns}
    for text, column in zip(texts.values(), zip(*rows, strict=True), strict=True):
        text.append(pa.array(column, pa.string()))
    return Table(
        {name: text.finish() for name, text in texts.items()},
        lambda row, column, problem: TableError(f"{path}: line {row + 1}, column {column}: {problem}"),
    )


def read_columns(path: Path, kinds: Mapping[str, ColumnKind], choices: CsvChoices | None = None) -> Columns:
    """Read the columns in `kinds` of a CSV file with a header.

    Raises `TableError` for a missing file or column, a row of another width, or a value that is not of its kind.
    """
    file = CsvFile(path, choices)
    parts: dict[str, list[ColumnValues]] = {name: [] for name, kind in kinds.items() if kind != "text"}
    texts = {name: TextColumn() for name, kind in kinds.items() if kind == "text"}
    rows = 0
    for block in file.blocks(list(kinds)):
        for (name, kind), text in zip(kinds.items(), block.columns, strict=True):
            if kind == "text":
                _require(file, rows, name, text, ~_missing(text), "is empty")
                texts[name].append(text)
            else:
                parts[name].append(_parse(file, rows, name, text, kind))
        rows += block.num_rows
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    words: dict[str, list[str]] = {}
    for name, column in texts.items():
        arrays[name], words[name] = column.finish()
    return Columns(arrays, words, file.error)


def _parse(file: CsvFile, first: int, name: str, text: pa.Array, kind: ColumnKind) -> ColumnValues:
    """Parse one block of a column of numbers.

    Its first row is row `first` of the file.
    """
    missing = _missing(text)
    if kind == "number":
        numbers = cells.numbers(text, file.choices.decimal)
        _require(file, first, name, text, ~missing, "is empty")
        _require(file, first, name, text, numbers >= 0, "must be a number of at least 0, not {}")
        return numbers
    if kind == "integer":
        _require(file, first, name, text, ~missing, "is empty")
    values = cells.whole_numbers(text)
    values[missing] = -1
    _require(file, first, name, text, values != cells.INVALID, "must be a whole number of at least 0, not {}")
    return values


def _missing(text: pa.Array) -> Bools:
    found: Bools = pc.is_in(text, value_set=pa.array(_NULLS)).to_numpy(zero_copy_only=False)
    return found


def _require(file: CsvFile, first: int, name: str, text: pa.Array, sound: Bools, problem: str) -> None:
    """Raise `TableError` about the first value that is not sound."""
    if not sound.all():
        row = int(sound.argmin())
        value = text[row].as_py()
        hint = cells.number_hint(value, file.choices.decimal)
        raise file.error(first + row, name, problem.format(repr(value[:40])) + hint)


def _least_type(count: int) -> type[np.signedinteger[Any]]:
    """Return the smallest integer type for codes below `count`."""
    return next(t for t in (np.int8, np.int16, np.int32, np.int64) if count <= np.iinfo(t).max + 1)
