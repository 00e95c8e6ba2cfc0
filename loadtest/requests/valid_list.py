"""The law of a valid list: every id is from the request, none comes twice, and there are ``min(top_n, candidates)``.

Also holds that `index` and `position` agree with the request and the list. Knows nothing about HTTP or locust.
"""

from __future__ import annotations

import msgspec

from loadtest.requests.payloads import Payload


class Item(msgspec.Struct):
    """What is checked of an item of the response."""

    id: str
    index: int
    position: int


class RankedList(msgspec.Struct):
    """What is checked of the response."""

    items: list[Item]


_decode = msgspec.json.Decoder(RankedList).decode


def list_problem(payload: Payload, answer: bytes) -> str | None:
    """What is wrong with the answer to a payload, or None. One short sentence, so that equal faults group together."""
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
