"""Say how a user wants fields of a list file to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

FieldKind = Literal["category", "number", "hash", "ignore"]
"""How a field is encoded: by a vocabulary, as a number, hashed into buckets, or not at all."""

MAX_VOCABULARY: Final = 64
MIN_COUNT: Final = 2
HASH_BUCKETS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class FieldChoices:
    """Hold the choices of a training about its fields.

    `kinds` maps ``group.name`` (groups: user, context, item, scores), or ``name`` alone for the fields of that name in
    all groups, to how it is read; any other field is read as its values suggest. A vocabulary holds at most
    `max_vocabulary` values, each seen at least `min_count` times; a field with more values is hashed into at most
    `hash_buckets` buckets.
    """

    kinds: Mapping[str, FieldKind] = field(default_factory=dict)
    max_vocabulary: int = MAX_VOCABULARY
    min_count: int = MIN_COUNT
    hash_buckets: int = HASH_BUCKETS

    def kind(self, group: str, name: str) -> FieldKind | None:
        """Return the chosen kind of a field; None where nothing was chosen."""
        return self.kinds.get(f"{group}.{name}", self.kinds.get(name))
