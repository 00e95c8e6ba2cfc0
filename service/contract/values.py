"""Define the values that fields of requests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

_INT64: Final = 2**63
Integer = Annotated[int, Meta(ge=-_INT64, le=_INT64 - 1)]
FieldValue = str | Integer | float | bool | None
if TYPE_CHECKING:
    FieldValues = dict[str, FieldValue]
else:  # Decoders take null as well; a `__post_init__` puts an empty object in its place.
    FieldValues = dict[str, FieldValue] | None
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Embedding = Annotated[
    list[float], Meta(min_length=1, max_length=4096, description="For diversity; one length for all that have one.")
]
