"""Find out over the whole log what each column holds: numbers, flags or text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Bools
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


@dataclass(slots=True)
class _First:
    """The first cell of some sort, with how many there are."""

    count: int = 0
    file: CsvFile | None = None
    row: int = 0
    value: str = ""

    def add(self, found: Bools, text: pa.Array, file: CsvFile, first: int) -> None:
        if self.file is None and found.any():
            place = int(found.argmax())
            self.file, self.row, self.value = file, first + place, text[place].as_py()
        self.count += int(found.sum())

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

    def add(self, text: pa.Array, file: CsvFile, first: int) -> None:
        """Look at one block, whose first row is row `first` of its file."""
        filled = ~cells.empty(text)
        number = cells.matches(text, cells.NUMBER[self._decimal])
        plain = number & cells.matches(text, _PLAIN[self._decimal])
        self._filled += int(filled.sum())
        self._whole += int(cells.matches(text, _WHOLE).sum())
        self._numbers.add(plain, text, file, first)
        self._codes.add(number & ~plain, text, file, first)
        whole_ids = cells.matches(text, cells.WHOLE_AS_FLOAT)
        self._whole_ids += int(whole_ids.sum())
        self._zero_fractions.add(whole_ids & ~cells.matches(text, _WHOLE), text, file, first)
        other = filled & ~number
        if other.any():
            rest = pc.if_else(pa.array(other), text, "")
            self._flags += int(cells.matches(rest, _FLAG).sum())
            self._commas.add(cells.matches(rest, cells.DECIMAL_COMMA), rest, file, first)
            self._words.add(cells.matches(rest, cells.NO_VALUE), rest, file, first)
            self._others.add(other, text, file, first)

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
    def is_number(self) -> bool:
        """Tell whether every cell that is not empty is a number, whatever its digits."""
        return self._numbers.count + self._codes.count == self._filled

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
        if self._commas.count and numbers + self._commas.count == self._filled and self._decimal == ".":
            raise self._commas.error(self.column, f"has a decimal comma: say --decimal , {keep}")
        if self._words.count and numbers and numbers + self._words.count == self._filled:
            word = self._words.value
            raise self._words.error(self.column, f"stands among numbers: say --missing {word!r}, {keep}")


def kinds_of(profiles: dict[str, Profile]) -> dict[str, Kind]:
    """Tell the kind of each column. Raises `TableError`."""
    return {column: profile.kind() for column, profile in profiles.items()}
