"""Read large CSV files as arrays of numbers, block by block.

`table.py` keeps every cell as text, which tens of millions of rows do not allow. Errors name file, line and column.
Lines count from 1, the header included; blanks around names and values are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from models.datasets.table import TableError

ColumnKind = Literal["integer", "optional integer", "number", "text"]
"""Whole numbers of at least 0 (an optional one is −1 where it is missing), other numbers of at least 0, or text."""

ColumnValues = NDArray[Any]

_BLOCK: Final = 1 << 24
_NULLS: Final = ("", "NULL")
_INTEGER: Final = r"^[0-9]{1,18}$"
_NUMBER: Final = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"


class Columns:
    """Hold arrays of one length; a column of text holds numbers, into `words` [column]."""

    def __init__(self, path: Path, arrays: dict[str, ColumnValues], words: dict[str, list[str]]) -> None:
        self.path = path
        self.words = words
        self._arrays = arrays

    def __getitem__(self, name: str) -> ColumnValues:
        return self._arrays[name]

    def error(self, row: int, column: str, problem: str) -> TableError:
        """Make an error about row `row` (from 0)."""
        return TableError(f"{self.path}: line {row + 2}, column {column}: {problem}")


def read_columns(path: Path, kinds: Mapping[str, ColumnKind]) -> Columns:
    """Read the columns named in `kinds` from a CSV file with a header.

    It may be plain or gzip (by its name). Raises `TableError` for a missing file or column, a row of another width, or
    a value that is not of its kind.
    """
    parts: dict[str, list[ColumnValues]] = {name: [] for name in kinds}
    words: dict[str, dict[str, int]] = {name: {} for name, kind in kinds.items() if kind == "text"}
    rows = 0
    try:
        reader, names = _open(path, kinds)
        for batch in reader:
            for name, kind in kinds.items():
                text = pc.utf8_trim_whitespace(batch.column(names[name]))
                parts[name].append(_parse(path, rows, name, text, kind, words))
            rows += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        message = str(error).replace("Row #", "line ")
        raise TableError(f"{path}: cannot be read: {message}") from error
    if not rows:
        raise TableError(f"{path}: holds no rows")
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    return Columns(path, arrays, {name: list(seen) for name, seen in words.items()})


def _open(path: Path, kinds: Mapping[str, ColumnKind]) -> tuple[csv.CSVStreamingReader, dict[str, str]]:
    """Open the columns as text; return the reader and each column's name in the header."""
    options = csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    parse = csv.ParseOptions(ignore_empty_lines=False)
    with csv.open_csv(path, read_options=options, parse_options=parse) as header:
        names = {name.strip(): name for name in header.schema.names}
    for name in kinds:
        if name not in names:
            raise TableError(f"{path}: there is no column {name!r}")
    wanted = [names[name] for name in kinds]
    convert = csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
    )
    return csv.open_csv(path, read_options=options, parse_options=parse, convert_options=convert), names


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
        value = repr(text[wrong].as_py()[:40])
        raise Columns(path, {}, {}).error(first + wrong, name, problem.format(value))


def _numbered(text: pa.Array, seen: dict[str, int]) -> ColumnValues:
    """Number each value, in order of appearance over all blocks."""
    encoded = text.dictionary_encode()
    numbers = [seen.setdefault(word, len(seen)) for word in encoded.dictionary.to_pylist()]
    codes: ColumnValues = np.array(numbers, np.int64)[encoded.indices.to_numpy()]
    return codes
