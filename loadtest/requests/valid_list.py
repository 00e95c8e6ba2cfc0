"""Check that an answer is a valid list: ``min(top_n, candidates)`` ids, none twice.

`index` and `position` must agree with the request and the list too.
"""

from __future__ import annotations

import msgspec

from loadtest.requests.payloads import Payload


class _RankedItem(msgspec.Struct):
    id: str
    index: int
    position: int


class _RankedList(msgspec.Struct):
    items: list[_RankedItem]


_decode = msgspec.json.Decoder(_RankedList).decode


def list_problem(payload: Payload, answer: bytes) -> str | None:
    """Return the fault of an answer in a few words that group, or None."""
    try:
        items = _decode(answer).items
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"is not a response: {error}"
    if len(items) != payload.expected:
        return f"has {len(items)} items instead of {payload.expected}"
    if len({item.id for item in items}) != len(items):
        return "has an id twice"
    first = items[0].position if items else 0
    for place, item in enumerate(items):
        if not 0 <= item.index < len(payload.ids) or payload.ids[item.index] != item.id:
            return "has an id that is not the request's at its index"
        if item.position - first != place:
            return "has positions that do not count up"
    return None
