"""Define the body of an order to the admin listener, and decode it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from service.contract.refusals import check_utf8, refusal


class Reload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name the bundle to load."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    version: (
        Annotated[str, Meta(min_length=1, max_length=128, description="Missing: the newest in the folder.")] | None
    ) = None


_decode: Final = msgspec.json.Decoder(Reload).decode


def decode_reload(body: bytes) -> Reload:
    """Decode an order to load a bundle.

    Raises `Problem`: 400 for what is no JSON, else 422.
    """
    try:
        check_utf8(body)
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(error, body) from None
