"""Define the rules that a request or a scene gives, and shown items.

Null means that a value is missing, as everywhere in a request.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from models.contract.rules.definition import (
    LARGEST_FACTOR,
    LARGEST_WINDOW,
    MOST_BOOSTS,
    MOST_CAPS,
    MOST_FLOORS,
    MOST_IDS,
    MOST_PINS,
    MOST_SHOWN_ITEMS,
    SMALLEST_FACTOR,
    Boost,
    Cap,
    Floor,
    Pin,
    Rules,
)
from service.contract.values import Embedding, FieldValues, Identifier, Integer

_BY: Final = "A tag or an item feature of the candidates. One that lacks it belongs to no group."
By = Annotated[str, Meta(min_length=1, max_length=256, description=_BY)]
Value = str | Integer | float | bool


class PinRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One candidate at a fixed position."""

    id: Identifier
    position: Annotated[int, Meta(ge=1, description="From 1. Beyond a list that is short, the last places are taken.")]


class CapRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """At most `limit` candidates of each value of `by`."""

    by: By
    limit: Annotated[int, Meta(ge=1, le=LARGEST_WINDOW)]
    window: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=LARGEST_WINDOW,
                description="Any so many consecutive positions, those just before the list included. "
                "Missing: this list, and nothing of earlier pages.",
            ),
        ]
        | None
    ) = None


class FloorRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """At least `least` candidates that have the value among the first `within` positions."""

    by: By
    value: Value
    least: Annotated[int, Meta(ge=1, le=LARGEST_WINDOW)]
    within: Annotated[int, Meta(ge=1, le=LARGEST_WINDOW)]


class BoostRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Worth of the candidates that have all values of `where`, times `factor`."""

    where: Annotated[dict[str, Value], Meta(min_length=1, max_length=16)]
    factor: Annotated[float, Meta(ge=SMALLEST_FACTOR, le=LARGEST_FACTOR)]


class ListRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Rules that the list keeps.

    A key that is missing is the scene's; an empty array is none.
    """

    pinned: Annotated[list[PinRule], Meta(max_length=MOST_PINS)] | None = None
    blocked: Annotated[list[Identifier], Meta(max_length=MOST_IDS, description="Ids never to return.")] | None = None
    caps: Annotated[list[CapRule], Meta(max_length=MOST_CAPS)] | None = None
    floors: Annotated[list[FloorRule], Meta(max_length=MOST_FLOORS)] | None = None
    boosts: Annotated[list[BoostRule], Meta(max_length=MOST_BOOSTS)] | None = None

    def compiled(self) -> Rules:
        """Return the rules as the contract defines them."""
        return Rules(
            pinned=tuple(Pin(pin.id, pin.position) for pin in self.pinned or ()),
            blocked=frozenset(self.blocked or ()),
            caps=tuple(Cap(cap.by, cap.limit, cap.window) for cap in self.caps or ()),
            floors=tuple(Floor(f.by, f.value, f.least, f.within) for f in self.floors or ()),
            boosts=tuple(Boost(boost.where, boost.factor) for boost in self.boosts or ()),
        )

    def over(self, other: ListRules | None) -> ListRules:
        """Return these rules, with the other's where a key is missing here."""
        if other is None:
            return self
        names = self.__struct_fields__
        own = {name: getattr(self, name) for name in names}
        return ListRules(**{name: getattr(other, name) if own[name] is None else own[name] for name in names})


class ShownItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An item of an earlier page, for diversity and for caps with a window."""

    id: Annotated[Identifier, Meta(description="One of `shown`.")]
    tags: FieldValues = {}
    features: FieldValues = {}
    embedding: Embedding | None = None

    def __post_init__(self) -> None:
        """Put an empty object for null."""
        item: Any = self  # To a type checker they are never null.
        for name in ("tags", "features"):
            if getattr(item, name) is None:
                force_setattr(self, name, {})


Shown = Annotated[
    list[Identifier], Meta(max_length=MOST_IDS, description="Ids of earlier pages, oldest first; never returned again.")
]
ShownItems = Annotated[list[ShownItem], Meta(max_length=MOST_SHOWN_ITEMS)]
