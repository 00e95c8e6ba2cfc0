"""Do all contenders give the same lists for the same requests? Nothing is worth comparing before that is so."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

from loadtest.peers import kserve
from loadtest.rig.turns import Place

_TOLERANCE: Final = 1e-3


class SameError(ValueError):
    """Two contenders gave different lists; the message says which and where."""


def check_same(places: Sequence[Place]) -> str:
    """Ask all for every message, compare items, order, sources and value with the first's. Raises `SameError`."""
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
    with place.awake():
        return [_ask(place, message) for message in place.messages]


def _ask(place: Place, message: bytes) -> Any:
    endpoint = place.endpoint
    body = message.partition(b"\r\n\r\n")[2]
    url = f"http://{endpoint.host}:{endpoint.port}{endpoint.path}"
    headers = {"Content-Type": "application/json", **endpoint.headers}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as response:
        answer = response.read()
    if endpoint.path == kserve.PATH:
        answer = kserve.unwrap(answer)
    return json.loads(answer)


def _bare(answer: Any) -> dict[str, Any]:
    """What every contender states; a batchable endpoint of BentoML wraps its answer in brackets."""
    (table,) = answer if isinstance(answer, list) else [answer]
    if table["degraded"] is not None:
        raise SameError(f"a list without its model: degraded is {table['degraded']!r}")
    items = [(item["id"], item["index"], item["position"], item["source"]) for item in table["items"]]
    return {"items": items, "value": {name: float(table["value"][name]) for name in table["value"]}}
