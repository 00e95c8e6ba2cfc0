"""Name the columns of a live source, and decode its values.

They have the bounds of values in requests. A value is JSON: a number, a string in quotes, true or false. null says that
an item has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import MsgspecError
from msgspec.json import Decoder

from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec, Number
from service.contract.values import FieldValue, Integer, Price

LONGEST: Final = 1024
"""Most bytes of one value; a longer one is refused."""

Kind = Literal["price", "number", "any"]

_DECODERS: Final[Mapping[Kind, Decoder[Scalar]]] = {
    "price": Decoder(Price | None),
    "number": Decoder(Integer | float | bool | None),
    "any": Decoder(FieldValue),
}
_ARRAYS: Final[Mapping[Kind, Decoder[list[Scalar]]]] = {
    "price": Decoder(list[Price | None]),
    "number": Decoder(list[Integer | float | bool | None]),
}


class Column(NamedTuple):
    """Name one field of the source, and what its values must be."""

    key: str
    kind: Kind

    def decode_all(self, raws: Sequence[bytes | None]) -> list[Scalar]:
        """Decode values, None for a missing one; raises `ValueError` or `TypeError` if any is refused."""
        if max(map(len, filter(None, raws)), default=0) > LONGEST:
            raise ValueError(f"one has more than {LONGEST} bytes")
        if self.kind == "any":
            decode = _DECODERS[self.kind].decode
            return [None if raw is None else decode(raw) for raw in raws]
        # As one array, which takes a fifth of the time. Each adds an element at least, and a comma in it adds another:
        # so many elements as values are one of each. Strings could hide a comma, but are refused.
        values = _ARRAYS[self.kind].decode(b"[%b]" % b",".join([b"null" if raw is None else raw for raw in raws]))
        if len(values) != len(raws):
            raise ValueError("one has a comma")
        return values

    def decode(self, raw: object) -> Scalar:
        """Decode one value, None for null. Raises `ValueError` for one that cannot be used."""
        if not isinstance(raw, bytes):
            raise ValueError("it is no string")
        if len(raw) > LONGEST:
            raise ValueError(f"it has {len(raw)} bytes, more than {LONGEST}")
        try:
            return _DECODERS[self.kind].decode(raw)
        except MsgspecError as error:
            raise ValueError(str(error)) from None


PRICE: Final = Column("price", "price")


def field_column(name: str, *, number: bool) -> Column:
    """Return the column of one field of items."""
    return Column(f"features:{name}", "number" if number else "any")


def spec_columns(spec: FeatureSpec) -> dict[str, Column]:
    """Return the columns of a spec's item fields by name."""
    return {field.name: field_column(field.name, number=isinstance(field, Number)) for field in spec.item}
