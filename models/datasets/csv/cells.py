"""Parse whole columns of text cells.

Every function takes trimmed text without nulls. An empty cell and a cell that does not parse give a value that no cell
can have, so that the caller can name the first of them.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Bools, Floats, Ints
from models.contract.scalars import MISSING_WORDS
from models.datasets.csv.form import Decimal

EMPTY: Final = -1
INVALID: Final = -2
"""Stand for an empty and a broken cell among flags and whole numbers."""

NUMBER: Final = {
    ".": r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?$",
    ",": r"^[-+]?([0-9]+(,[0-9]*)?|,[0-9]+)([eE][-+]?[0-9]{1,3})?$",
}
DECIMAL_COMMA: Final = r"^[-+]?[0-9]+,[0-9]+$"
GROUPED: Final = r"^[-+]?[1-9][0-9]{0,2}([,.'’\x{A0}\x{202F}][0-9]{3})+([.,][0-9]+)?$"
"""A number whose thousands may be separated, as in 1,234.50."""
NO_VALUE: Final = rf"(?i)^([-+]?nan|[-+]?inf(inity)?|-|{'|'.join(map(re.escape, sorted(MISSING_WORDS)))})$"
"""Words that tools write where a number is missing."""

WHOLE_AS_FLOAT: Final = r"^[0-9]{1,18}(\.0+)?$"
"""A whole number, as pandas writes it in a column with gaps."""

SHORTENED: Final = r"^[-+]?[0-9]([.,][0-9]+)?[eE]\+[0-9]+$"
"""A number as spreadsheets and floats write long ones, without their last digits."""

_TRUE: Final = r"(?i)^(1|1\.0+|t|true)$"
_FALSE: Final = r"(?i)^(0|0\.0+|f|false)$"


def matches(text: pa.Array, pattern: str) -> Bools:
    """Mark the cells that match a regular expression."""
    found: Bools = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
    return found


def empty(text: pa.Array) -> Bools:
    """Mark the empty cells."""
    found: Bools = pc.equal(text, "").to_numpy(zero_copy_only=False)
    return found


def numbers(text: pa.Array, decimal: Decimal = ".") -> Floats:
    """Parse numbers as float64; NaN where a cell is no finite number."""
    sound = pc.match_substring_regex(text, NUMBER[decimal])
    text = pc.if_else(sound, text, pa.scalar(None, pa.string()))
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    values: Floats = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values, np.nan)


def flags(text: pa.Array) -> Ints:
    """Parse 0/1, true/false, t/f and 0.0/1.0; `EMPTY` and `INVALID` for other cells."""
    values = np.full(len(text), INVALID, np.int64)
    values[empty(text)] = EMPTY
    values[matches(text, _FALSE)] = 0
    values[matches(text, _TRUE)] = 1
    return values


def whole_numbers(text: pa.Array) -> Ints:
    """Parse whole numbers of at least 0.

    They may be written as 3.0. Other cells are `EMPTY` or `INVALID`.
    """
    sound = matches(text, WHOLE_AS_FLOAT)
    digits = without_zero_fraction(pc.if_else(pa.array(sound), text, "0"))
    values: Ints = pc.cast(digits, pa.int64()).to_numpy(zero_copy_only=False).copy()
    values[~sound] = INVALID
    values[empty(text)] = EMPTY
    return values


def without_zero_fraction(text: pa.Array) -> pa.Array:
    """Write 33.0 as 33; other cells stay."""
    return pc.replace_substring_regex(text, r"^([0-9]{1,18})\.0+$", r"\1")


def number_hint(value: str, decimal: Decimal) -> str:
    """Return the end of a message about separators of thousands or a decimal comma."""
    comma = decimal == "." and matches(pa.array([value]), DECIMAL_COMMA)[0]
    if matches(pa.array([value]), GROUPED)[0]:
        other = ", or if its comma is the decimal point, say --decimal ," if comma else ""
        return f"; write it without separators of thousands{other}"
    return "; if its comma is the decimal point, say --decimal ," if comma else ""


def missing_hint(value: str) -> str:
    """Return the end of a message about a word for a missing value."""
    if matches(pa.array([value]), NO_VALUE)[0]:
        return f"; if it stands for a missing value, say --missing {shlex.quote(value)}"
    return ""
