"""Make candidates and shown items for tests of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.contract.scalars import Scalar


@dataclass(frozen=True, slots=True)
class Item:
    """Serve as a candidate or a shown item."""

    id: str
    tags: Mapping[str, Scalar] = field(default_factory=dict)
    features: Mapping[str, Scalar] = field(default_factory=dict)
    embedding: Sequence[float] | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    price: float | None = None


def branded(brands: str) -> list[Item]:
    """Make one candidate per letter, named by its place, of the brand of that letter; a dash has none."""
    return [Item(f"c{i}", {} if brand == "-" else {"brand": brand}) for i, brand in enumerate(brands)]
