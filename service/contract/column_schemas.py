"""Define candidates as columns, which a request may have in place of objects.

A text in the place of an array of numbers is base64 of little-endian float32, which takes a fraction of the time to
read. Null in an array means that a value is missing, and in the place of one that all are.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from service.contract.values import FieldValue, Identifier, Price, RawEmbedding

_EMBEDDING: Final = "For diversity; one length for all that have one. In base64 all have one, one behind the other."
Float32s = Annotated[bytes, Meta(description="Base64 of little-endian float32, none of them NaN or infinite.")]
ScoreColumn = list[float | None] | Float32s | None
FeatureColumn = list[FieldValue] | Float32s | None
TagColumn = list[FieldValue] | None


class CandidateColumns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Items that may be shown, as columns of one length and in one order."""

    id: Annotated[list[Identifier], Meta(min_length=1, description="Returned in the answer; each unique.")]
    scores: Annotated[
        dict[str, ScoreColumn],
        Meta(description="The ranking stage's estimates by name, for example ctr and cvr."),
    ]
    price: Annotated[
        list[Price | None] | Float32s | None, Meta(description="In currency. Missing: the bundle's default price.")
    ] = None
    features: Annotated[
        dict[str, FeatureColumn] | None,
        Meta(description="Values by field name. Missing: the default; unknown: not used, and named in `warnings`."),
    ] = None
    embedding: Annotated[list[RawEmbedding] | Float32s | None, Meta(description=_EMBEDDING)] = None
    tags: Annotated[
        dict[str, TagColumn] | None,
        Meta(description="Values for rules alone, such as a brand or a source; no model sees them."),
    ] = None
