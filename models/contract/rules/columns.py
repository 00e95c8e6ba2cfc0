"""Read the values that rules ask for as numbers, once per field.

So groups are compared as arrays.

Axis letters: n candidates, S shown items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Ints
from models.contract.candidates import CandidateTable
from models.contract.rules.definition import Shown, value_of
from models.contract.scalars import Scalar, canonical_text

NO_VALUE: Final = 0


@dataclass(frozen=True, slots=True)
class Column:
    """Hold one field of all candidates, with a number for every value.

    `codes` [n] are the candidates' numbers, `NO_VALUE` where the value is missing. `numbers` maps canonical texts to
    numbers, in the order in which candidates have them.
    """

    codes: Ints
    numbers: Mapping[Scalar, int]

    @property
    def is_empty(self) -> bool:
        """Tell whether no candidate has a value."""
        return len(self.numbers) == 1

    def having(self, value: Scalar) -> Bools:
        """Flag the candidates [n] that have a value; no one has None."""
        code = self.numbers.get(_text(value), NO_VALUE)
        return np.equal(self.codes, code) if code != NO_VALUE else np.zeros(len(self.codes), np.bool_)


class Columns:
    """Read fields of one request's candidates when they are first asked for."""

    def __init__(self, candidates: CandidateTable) -> None:
        self._candidates = candidates
        self._places = np.arange(len(candidates))
        self._read: dict[str, Column] = {}

    def column(self, name: str) -> Column:
        """Return the field of that name: tags, else item features."""
        if (known := self._read.get(name)) is None:
            known = self._read[name] = self._column(name)
        return known

    def shown_codes(self, name: str, shown: Sequence[Shown]) -> Ints:
        """Number the values of shown items [S] as the candidates' are.

        `NO_VALUE` stands for a value that no candidate has.
        """
        column = self.column(name)
        return np.array([_shown_code(item, name, column) for item in shown], np.int64)

    def _column(self, name: str) -> Column:
        # What `value_of` says of one item.
        values = self._candidates.tags(name)
        if None in values:
            pairs = zip(values, self._candidates.values(name, self._places), strict=True)
            values = [feature if tag is None else tag for tag, feature in pairs]
        strings = set(map(type, values)) <= {str, type(None)}
        texts = values if strings else [_text(value) for value in values]
        numbers: dict[Scalar, int] = {None: NO_VALUE}
        codes = [numbers.setdefault(text, len(numbers)) for text in texts]
        return Column(np.array(codes, np.int64), numbers)


def _shown_code(item: Shown, name: str, column: Column) -> int:
    """Number the value of one shown item."""
    if isinstance(item, int):
        return int(column.codes[item])
    return NO_VALUE if item is None else column.numbers.get(_text(value_of(item, name)), NO_VALUE)


def _text(value: Scalar) -> str | None:
    """Write a value as text; a missing one stays None."""
    return value if value is None or isinstance(value, str) else canonical_text(value)
