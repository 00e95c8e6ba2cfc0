"""Define candidates as columns, which a request may have in place of objects.

A text in the place of an array of numbers is base64 of little-endian float32, which takes a fraction of the time to
read. Null in an array means that a value is missing, and in the place of one that all are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from service.contract.values import FieldValue, Identifier, Price, RawEmbedding

_BASE64: Final = {"contentEncoding": "base64"}
_EMBEDDING: Final = "For diversity; one length for all that have one. In base64 all have one, one behind the other."
Base64 = Annotated[
    str, Meta(description="Base64 of little-endian float32, none of them NaN or infinite.", extra_json_schema=_BASE64)
]
ScoreColumn = list[float | None] | Base64 | None
FeatureColumn = list[FieldValue] | Base64 | None
TagColumn = list[FieldValue] | None
if TYPE_CHECKING:
    FeatureColumns = dict[str, FeatureColumn]
    TagColumns = dict[str, TagColumn]
else:  # Decoders take null as well; a `__post_init__` puts an empty object in its place.
    FeatureColumns = dict[str, FeatureColumn] | None
    TagColumns = dict[str, TagColumn] | None


class CandidateColumns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Items that may be shown, as columns of one length and in one order."""

    id: Annotated[list[Identifier], Meta(min_length=1, description="Returned in the answer; each unique.")]
    scores: Annotated[
        dict[str, ScoreColumn],
        Meta(description="The ranking stage's estimates by name, for example ctr and cvr."),
    ]
    price: Annotated[
        list[Price | None] | Base64 | None, Meta(description="In currency. Missing: the bundle's default price.")
    ] = None
    features: Annotated[
        FeatureColumns,
        Meta(description="Values by field name. Missing: the default; unknown: not used, and named in `warnings`."),
    ] = {}
    embedding: Annotated[list[RawEmbedding] | Base64 | None, Meta(description=_EMBEDDING)] = None
    tags: Annotated[
        TagColumns, Meta(description="Values for rules alone, such as a brand or a source; no model sees them.")
    ] = {}

    def __post_init__(self) -> None:
        """Put an empty object for null."""
        columns: Any = self  # To a type checker they are never null.
        for name in ("features", "tags"):
            if getattr(columns, name) is None:
                force_setattr(self, name, {})
