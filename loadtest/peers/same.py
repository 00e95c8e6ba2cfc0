"""Check that all contenders give the same lists before they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import requests

from loadtest.peers import kserve
from loadtest.rig.turns import Place

_TOLERANCE: Final = 1e-3
_HEAD_END: Final = b"\r\n\r\n"


class SameError(ValueError):
    """Report two contenders with different lists; the message says which and where."""


def check_same(places: Sequence[Place]) -> str:
    """Compare all answers of all contenders with the first's. Raises `SameError`."""
    expected = [_bare(answer) for answer in _answers(places[0])]
    for place in places[1:]:
        for i, (want, answer) in enumerate(zip(expected, _answers(place), strict=True)):
            _compare(f"{place.name}, request {i}", want, _bare(answer))
    return f"{len(places)} contenders give the same lists for {len(expected)} requests"


def _compare(where: str, want: dict[str, Any], got: dict[str, Any]) -> None:
    if got["items"] != want["items"]:
        raise SameError(f"{where}: items differ: {got['items']} and {want['items']}")
    for name, value in want["value"].items():
        if abs(got["value"][name] - value) > _TOLERANCE * max(1.0, abs(value)):
            raise SameError(f"{where}: value.{name} is {got['value'][name]} and not {value}")


def _answers(place: Place) -> list[Any]:
    with place.awake(), requests.Session() as session:
        session.headers.update({"Content-Type": "application/json", **place.endpoint.headers})
        return [_ask(session, place, message.partition(_HEAD_END)[2]) for message in place.messages]


def _ask(session: requests.Session, place: Place, body: bytes) -> Any:
    answer = session.post(place.endpoint.url, body, timeout=30)
    answer.raise_for_status()
    wrapped = place.endpoint.path == kserve.PATH
    return msgspec.json.decode(kserve.unwrap(answer.content) if wrapped else answer.content)


def _bare(answer: Any) -> dict[str, Any]:
    """Return what every contender states; a batchable endpoint of BentoML wraps its answer in brackets."""
    (table,) = answer if isinstance(answer, list) else [answer]
    if table["degraded"] is not None:
        raise SameError(f"a list without its model: degraded is {table['degraded']!r}")
    items = [(item["id"], item["index"], item["position"], item["source"]) for item in table["items"]]
    return {"items": items, "value": {name: float(table["value"][name]) for name in table["value"]}}
