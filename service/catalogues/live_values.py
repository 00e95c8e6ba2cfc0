"""Name the columns of a live source, and decode its values.

They have the bounds of values in requests. A value is JSON: a number, a string in quotes, true or false. null says that
an item has none.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import MsgspecError
from msgspec.json import Decoder

from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec, Number
from service.contract.values import FieldValue, Price

LONGEST: Final = 1024
"""Most bytes of one value; a longer one is refused."""

_PRICE: Final[Decoder[float | None]] = Decoder(Price | None)
_VALUE: Final[Decoder[Scalar]] = Decoder(FieldValue)

Kind = Literal["price", "number", "any"]


class Column(NamedTuple):
    """Name one field of the source, and what its values must be."""

    key: str
    kind: Kind

    def decode(self, raw: bytes) -> Scalar:
        """Decode one value, None for null. Raises `ValueError` for one that cannot be used."""
        if len(raw) > LONGEST:
            raise ValueError(f"it has {len(raw)} bytes, more than {LONGEST}")
        try:
            value = _PRICE.decode(raw) if self.kind == "price" else _VALUE.decode(raw)
        except MsgspecError as error:
            raise ValueError(str(error)) from None
        if self.kind == "number" and isinstance(value, str):
            raise ValueError("it must be a number, not a string")
        return value


PRICE: Final = Column("price", "price")


def field_column(name: str, *, number: bool) -> Column:
    """Return the column of one field of items."""
    return Column(f"features:{name}", "number" if number else "any")


def spec_columns(spec: FeatureSpec) -> dict[str, Column]:
    """Return the columns of a spec's item fields by name."""
    return {field.name: field_column(field.name, number=isinstance(field, Number)) for field in spec.item}
