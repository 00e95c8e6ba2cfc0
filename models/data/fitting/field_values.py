"""Gather the values of one field from columns, and decide how it is encoded.

Values of a category are counted by their text. Memory is bounded: once a field has more values than a vocabulary and
the buckets of a hash can hold, their number no longer matters.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.contract.scalars import canonical_text
from models.contract.spec import Category, Field, Hashed, Number
from models.data.field_choices import FieldChoices, FieldKind
from models.data.fitting.number_values import NumberValues
from models.data.reading.arrow_numbers import floats, is_number

MOST_COUNTED: Final = 1 << 18
"""Different values of a field chosen as a category that are counted."""


class FieldValues:
    """Gather one field's values.

    `path` names it in messages; `kind` is what was chosen for it, if anything.
    """

    def __init__(self, path: str, kind: FieldKind | None, choices: FieldChoices) -> None:
        self.path = path
        self.numbers = NumberValues(path)
        self._kind = kind
        self._choices = choices
        self._most = max(choices.max_vocabulary, choices.hash_buckets)
        self._counts = Counter[str]()
        self._countless = False
        self._has_text = self._has_numbers = False

    @property
    def empty(self) -> bool:
        """Tell whether no list has a value of the field."""
        return not (self._counts or self._countless or self._has_numbers)

    def add(self, column: pa.Array) -> None:
        """Add a column of text, numbers or booleans; nulls are no values.

        Raises `ValueError` naming the field if it cannot be what was chosen or was found before.
        """
        column = column.drop_null()
        if not len(column):
            return
        if self._kind in ("category", "hash"):
            self._count(column)
        elif is_number(column.type):
            self._has_numbers = True
            self.numbers.add(floats(column))
        elif pa.types.is_boolean(column.type):
            self._count(column)  # categories if there is nothing else, else 0 and 1
            self.numbers.add(floats(column))
        else:
            self._add_text(column)
        self._check_kinds()

    def extend(self, other: FieldValues) -> None:
        """Add the field's values in lists that follow. Raises `ValueError` as `add` does."""
        self._has_text |= other._has_text
        self._has_numbers |= other._has_numbers
        self.numbers.extend(other.numbers)
        self._countless |= other._countless
        self._counts.update(other._counts)
        self._limit()
        self._check_kinds()

    def field(self, name: str) -> Field:
        """Decide how the field is encoded, as `SpecFitter` says."""
        if self._is_category():
            return self._categorical(name)
        return self.numbers.number(name)

    def score(self, name: str) -> Number:
        """Fit a prior score. Raises `ValueError` if it was chosen to be no number."""
        if self._kind in ("category", "hash"):
            raise ValueError(f"{self.path}: is a prior score, so it is a number and cannot be read as {self._kind!r}")
        return self.numbers.score(name)

    def _is_category(self) -> bool:
        return self._kind in ("category", "hash") or (self._kind is None and not self._has_numbers)

    def _add_text(self, column: pa.Array) -> None:
        if self._kind == "number":
            value = str(column[0].as_py())[:40]
            raise ValueError(f"{self.path}: is to be read as a number, but holds the text {value!r}")
        self._has_text = True
        self._count(column)

    def _check_kinds(self) -> None:
        if self._has_numbers and self._has_text:
            raise ValueError(
                f"{self.path}: holds numbers in some lists and text in others; choose how to read it, as a category"
            )

    def _count(self, column: pa.Array) -> None:
        if self._countless:
            return
        found = pc.value_counts(column)
        for value, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            self._counts[canonical_text(value)] += count
        self._limit()

    def _limit(self) -> None:
        """Count no further where there are too many values."""
        if self._kind == "category" and len(self._counts) > MOST_COUNTED:
            raise ValueError(f"{self.path}: has over {MOST_COUNTED:,} values, too many for a category; hash it instead")
        if self._countless or (self._kind != "category" and len(self._counts) > self._most):
            self._countless = True
            self._counts.clear()

    def _categorical(self, name: str) -> Category | Hashed:
        counts, choices = self._counts, self._choices
        if self._countless:
            return Hashed(name, choices.hash_buckets)
        if self._kind == "category" or (self._kind is None and len(counts) <= choices.max_vocabulary):
            frequent = sorted(counts, key=lambda value: (-counts[value], value))[: choices.max_vocabulary]
            return Category(name, tuple(sorted(value for value in frequent if counts[value] >= choices.min_count)))
        return Hashed(name, min(1 << (len(counts) - 1).bit_length(), choices.hash_buckets))
