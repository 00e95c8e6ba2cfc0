"""Map the values of categorical fields to rows of the embedding table."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from models.contract.scalars import Scalar, canonical_text
from models.contract.spec import Categorical, Category


class CategoryColumn:
    """Map one categorical field's values to rows of the shared embedding table."""

    __slots__ = ("_buckets", "_offset", "_prefix", "_seen", "name")

    # Together they bound the memory that clients can make it take.
    _MOST_SEEN: Final = 65_536
    _LONGEST_SEEN: Final = 64

    def __init__(self, field: Categorical, offset: int) -> None:
        self.name = field.name
        self._offset = offset
        self._prefix = f"{field.name}="
        vocabulary = field.vocabulary if isinstance(field, Category) else ()
        self._buckets = 0 if isinstance(field, Category) else field.buckets
        # Text to row: a vocabulary whole, hashed values as they are met. Popular ids come again and again.
        self._seen = {value: offset + i for i, value in enumerate(vocabulary, start=1)}

    def rows(self, values: Sequence[Scalar]) -> list[int]:
        """Map each value as `row` does."""
        seen = self._seen.get
        # Keys are all strings, so a number or a bool misses and goes the long way.
        return [self.row(value) if (row := seen(value)) is None else row for value in values]  # type: ignore[arg-type]

    def row(self, value: Scalar) -> int:
        """Map a value to its row; a missing or unlisted one has the field's first."""
        if value is None:
            return self._offset
        text = value if isinstance(value, str) else canonical_text(value)
        row = self._seen.get(text)
        if row is not None:
            return row
        return self._hash(text) if self._buckets else self._offset

    def _hash(self, text: str) -> int:
        digest = zlib.crc32((self._prefix + text).encode("utf-8", "surrogatepass"))
        row = self._offset + 1 + digest % self._buckets
        if len(text) <= self._LONGEST_SEEN:
            if len(self._seen) >= self._MOST_SEEN:
                self._seen.clear()
            self._seen[text] = row
        return row
