"""Define the values that fields of requests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Raw

_INT64: Final = 2**63
Integer = Annotated[int, Meta(ge=-_INT64, le=_INT64 - 1)]
FieldValue = str | Integer | float | bool | None
if TYPE_CHECKING:
    FieldValues = dict[str, FieldValue]
else:  # Decoders take null as well; a `__post_init__` puts an empty object in its place.
    FieldValues = dict[str, FieldValue] | None
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
LARGEST_PRICE: Final = 1e12
Price = Annotated[float, Meta(ge=0, le=LARGEST_PRICE, description="In currency. Missing: the bundle's default price.")]
MOST_NUMBERS: Final = 4096
"""Most numbers of one embedding."""
_EMBEDDING: Final = "For diversity; one length for all that have one."
Embedding = Annotated[list[float], Meta(min_length=1, max_length=MOST_NUMBERS, description=_EMBEDDING)]
RawEmbedding = Annotated[
    Raw,
    Meta(
        description=_EMBEDDING,
        extra_json_schema={
            "type": ["array", "null"],
            "items": {"type": "number"},
            "minItems": 1,
            "maxItems": MOST_NUMBERS,
        },
    ),
]
"""JSON of an `Embedding` or null, which is decoded where it is needed."""
