"""Define the rules of a list, as a request or a scene gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from models.contract.scalars import Scalar

MOST_PINS: Final = 64
MOST_CAPS: Final = 16
MOST_FLOORS: Final = 16
MOST_BOOSTS: Final = 32
MOST_GROUPS: Final = 2_000
"""Most groups that all caps of one request together may have, of those that have more members than the limit."""
MOST_IDS: Final = 5_000
"""Most blocked ids, and most shown ids, of one request."""
MOST_SHOWN_ITEMS: Final = 200
MOST_RULE_FIELDS: Final = 32
MOST_COUNTS: Final = 4_000
"""Most caps and floors of one request, times the places of its list: each place is counted for each of them."""
"""Most different fields that the rules of one request may ask for."""
LARGEST_WINDOW: Final = 1_000
LARGEST_FACTOR: Final = 1_000.0
SMALLEST_FACTOR: Final = 1e-3


class ShownLike(Protocol):
    """Offer what is known of an item that was shown on an earlier page."""

    @property
    def id(self) -> str: ...
    @property
    def tags(self) -> Mapping[str, Scalar]: ...
    @property
    def features(self) -> Mapping[str, Scalar]: ...
    @property
    def embedding(self) -> Sequence[float] | None: ...


@dataclass(frozen=True, slots=True)
class Pin:
    """Put one candidate at a position, from 1."""

    id: str
    position: int


@dataclass(frozen=True, slots=True)
class Cap:
    """Allow at most `limit` candidates of one value of `by` among `window` consecutive places.

    Without a window the whole list counts, and nothing of earlier pages.
    """

    by: str
    limit: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Floor:
    """Want at least `least` candidates with this value of `by` among the first `within` places."""

    by: str
    value: Scalar
    least: int
    within: int


@dataclass(frozen=True, slots=True)
class Boost:
    """Multiply the worth of candidates that have all values of `where`."""

    where: Mapping[str, Scalar]
    factor: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Hold the rules of one request.

    A rule's name is its kind and its place among those of its kind, such as ``caps[0]``; answers use it.
    """

    pinned: tuple[Pin, ...] = ()
    blocked: frozenset[str] = field(default_factory=frozenset)
    caps: tuple[Cap, ...] = ()
    floors: tuple[Floor, ...] = ()
    boosts: tuple[Boost, ...] = ()


NO_RULES: Final = Rules()


Shown = ShownLike | int | None
"""What is known of a shown item: fields of its own, the place of the candidate that it is, or nothing."""


def value_of(item: ShownLike, name: str) -> Scalar:
    """Return the value of a tag, else of an item feature, else None."""
    value = item.tags.get(name)
    return item.features.get(name) if value is None else value
