"""Find out over the whole log what each column holds: numbers, flags or text."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from models.contract.arrays import Bools, Ints
from models.datasets.csv import cells
from models.datasets.csv.form import Decimal, TableError
from models.datasets.csv.reading import CsvFile

Kind = Literal["whole number", "number", "flag", "text", "empty"]

_PLAIN: Final = {
    ".": r"^[-+]?(0|[1-9][0-9]{0,14})?(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?$",
    ",": r"^[-+]?(0|[1-9][0-9]{0,14})?(,[0-9]*)?([eE][-+]?[0-9]{1,3})?$",
}
"""Not 007 and no more digits than a float64 keeps: those are codes, which stay text."""

_WHOLE: Final = r"^[-+]?[0-9]+$"
_FLAG: Final = r"(?i)^(true|false)$"


@dataclass(frozen=True, eq=False)
class _Block:
    """Hold one block of a column by its different words.

    Its first row is row `first` of its file.
    """

    words: pa.Array
    codes: Ints
    counts: Ints
    file: CsvFile
    first: int


@dataclass(slots=True)
class _First:
    """The first cell of some sort, with how many there are."""

    count: int = 0
    file: CsvFile | None = None
    row: int = 0
    value: str = ""

    def add(self, found: Bools, block: _Block) -> None:
        """Count the cells whose word is `found`, and remember the first of all."""
        if not found.any():
            return
        if self.file is None:
            place = int(found[block.codes].argmax())
            self.file, self.row = block.file, block.first + place
            self.value = block.words[int(block.codes[place])].as_py()
        self.count += int(block.counts[found].sum())

    def line(self) -> str:
        assert self.file is not None
        return f"{self.file.path.name} line {self.file.line(self.row)}"

    def error(self, column: str, problem: str) -> TableError:
        assert self.file is not None
        return self.file.error(self.row, column, f"{self.value[:40]!r} {problem}")


class Profile:
    """Collect what is seen in one column, block by block."""

    def __init__(self, column: str, decimal: Decimal, *, as_text: bool) -> None:
        self.column = column
        self._decimal = decimal
        self._as_text = as_text
        self._filled = self._whole = self._flags = self._whole_ids = 0
        self._numbers, self._others = _First(), _First()
        self._codes, self._commas, self._words, self._zero_fractions = _First(), _First(), _First(), _First()
        self._shortened, self._grouped, self._grouped_plain, self._fractions = _First(), _First(), _First(), _First()

    def add(self, encoded: pa.DictionaryArray, file: CsvFile, first: int) -> None:
        """Look at one block, whose first row is row `first` of its file."""
        words, codes = encoded.dictionary, encoded.indices.to_numpy()
        counts = np.bincount(codes, minlength=len(words))
        block = _Block(words, codes, counts, file, first)
        filled = ~cells.empty(words)
        number = cells.matches(words, cells.NUMBER[self._decimal])
        plain = number & cells.matches(words, _PLAIN[self._decimal])
        whole = cells.matches(words, _WHOLE)
        whole_ids = cells.matches(words, cells.WHOLE_AS_FLOAT)
        other = filled & ~number
        grouped = cells.matches(words, cells.GROUPED)
        self._filled += int(counts[filled].sum())
        self._whole += int(counts[whole].sum())
        self._whole_ids += int(counts[whole_ids].sum())
        self._flags += int(counts[cells.matches(words, _FLAG)].sum())
        self._numbers.add(plain, block)
        self._codes.add(number & ~plain, block)
        self._zero_fractions.add(whole_ids & ~whole, block)
        self._others.add(other, block)
        self._commas.add(other & ~grouped & cells.matches(words, cells.DECIMAL_COMMA), block)
        self._grouped.add(other & grouped, block)
        self._grouped_plain.add(number & grouped, block)
        self._fractions.add(number & ~whole, block)
        self._shortened.add(cells.matches(words, cells.SHORTENED), block)
        self._words.add(other & cells.matches(words, cells.NO_VALUE), block)

    def kind(self) -> Kind:
        """Tell how a feature of this column is stored.

        It is a number only if every cell that is not empty is one. Raises `TableError` where it would be one but for a
        decimal comma or a word for a missing number.
        """
        if not self._filled:
            return "empty"
        if self._as_text:
            return "text"
        if self._flags == self._filled:
            return "flag"
        if self._numbers.count == self._filled:
            return "whole number" if self._whole == self._filled else "number"
        self._refuse_near_numbers()
        return "text"

    def require_ids(self) -> None:
        """Refuse ids that are missing words or shortened. Raises `TableError` about the first."""
        if self._as_text:
            return
        keep = f"or --text {self.column} to keep it as an id"
        if self._words.count:
            say = f"say --missing {shlex.quote(self._words.value)}, {keep}"
            raise self._words.error(self.column, f"seems to stand for a missing id: {say}")
        if self._shortened.count:
            say = f"write ids as text and not as numbers, {keep}"
            raise self._shortened.error(self.column, f"has lost its last digits: {say}")

    def thousands(self) -> str | None:
        """Say that the decimal mark may separate thousands, or None.

        It is where three digits follow it in every cell that has one, and other cells have none.
        """
        found = self._grouped_plain
        all_numbers = self._numbers.count == self._filled
        all_grouped = 0 < found.count == self._fractions.count
        if self._as_text or not (all_numbers and self._whole and all_grouped):
            return None
        return (
            f"column {self.column}: {found.value!r} ({found.line()}) is read with a fraction; every cell with a "
            f"{self._decimal!r} has three digits behind it: if it separates thousands, write the numbers without it"
        )

    def note(self) -> str | None:
        """Say why a column with numbers in most cells is text, or None."""
        if self._as_text or self._numbers.count <= self._filled / 2 or self._numbers.count == self._filled:
            return None
        odd = self._others if self._others.count else self._codes
        return (
            f"column {self.column} is text, since {odd.count} of {self._filled} cells are no plain number, such as "
            f"{odd.value[:40]!r} ({odd.line()})"
        )

    @property
    def mostly_numbers(self) -> bool:
        """Tell whether most cells that are not empty are numbers, whatever their digits."""
        return self._numbers.count + self._codes.count > self._filled / 2

    def whole_ids(self) -> str | None:
        """Say that ids such as 33.0 are read as 33, or None.

        They are where every cell is a whole number, as tools write it in a column with gaps.
        """
        if self._as_text or not self._zero_fractions.count or self._whole_ids != self._filled:
            return None
        first = self._zero_fractions.value
        return f"column {self.column}: whole numbers written as {first!r} are read as {first.partition('.')[0]!r}"

    def _refuse_near_numbers(self) -> None:
        numbers = self._numbers.count + self._codes.count
        keep = f"or --text {self.column} to keep the column as text"
        formatted = self._commas.count + self._grouped.count
        if formatted and numbers + formatted == self._filled:
            if self._commas.count and self._decimal == ".":
                raise self._commas.error(self.column, f"has a decimal comma: say --decimal , {keep}")
            hint = cells.number_hint(self._grouped.value, self._decimal)
            raise self._grouped.error(self.column, f"is no plain number{hint}; {keep}")
        if self._words.count and numbers and numbers + self._words.count == self._filled:
            word = self._words.value
            raise self._words.error(self.column, f"stands among numbers: say --missing {shlex.quote(word)}, {keep}")
