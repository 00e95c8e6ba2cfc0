"""Make random requests with rules, right and wrong, and check their answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

Json = Mapping[str, Any]
_BRANDS: Final = ("b1", "b1", "b1", "b2", "b2", "b3")
_MANY_BRANDS: Final = tuple(f"b{i}" for i in range(60))
"""More than a graph has groups for, where a cap counts each of them."""

_MOST_CANDIDATES: Final = 30
_MANY_CANDIDATES: Final = 200
_MANY_SHARE: Final = 0.1
_SOURCES: Final = ("new", "catalogue")


def ruled_request(rng: random.Random) -> dict[str, Any]:
    """Draw a request with rules that are valid, and that may be impossible to keep.

    One in ten has many candidates of many brands.
    """
    brands = _MANY_BRANDS if rng.random() < _MANY_SHARE else _BRANDS
    ids = [f"i{i}" for i in range(_MANY_CANDIDATES if brands is _MANY_BRANDS else rng.randint(1, _MOST_CANDIDATES))]
    top_n = rng.randint(1, 15)
    blocked = rng.sample(ids, rng.randint(0, len(ids) // 3))
    shown = [*rng.sample(ids, rng.randint(0, len(ids) // 4)), *(f"old{i}" for i in range(rng.randint(0, 4)))]
    free = [name for name in ids if name not in {*blocked, *shown}]
    places = range(1, top_n + 1)
    count = rng.randint(0, min(3, len(free), top_n))
    pins = zip(rng.sample(free, count), rng.sample(places, count), strict=True)
    return {
        "candidates": [_candidate(rng, name, brands) for name in ids],
        "top_n": top_n,
        "explain": rng.random() < 0.3,
        "rules": {
            "pinned": [{"id": name, "position": place} for name, place in pins],
            "blocked": blocked,
            "caps": [_cap(rng) for _ in range(rng.randint(0, 3))],
            "floors": [_floor(rng) for _ in range(rng.randint(0, 2))],
            "boosts": [{"where": {"source": "new"}, "factor": rng.choice((0.001, 0.5, 2.0, 1000.0))}],
        },
        "shown": shown,
        "shown_items": [{"id": name, "tags": _tags(rng, brands)} for name in shown if name.startswith("old")],
    }


def _candidate(rng: random.Random, name: str, brands: Sequence[str]) -> dict[str, Any]:
    scores = {"ctr": round(rng.uniform(0.01, 0.5), 4), "cvr": round(rng.uniform(0.01, 0.3), 4)}
    return {"id": name, "scores": scores, "price": round(rng.uniform(1, 99), 2), "tags": _tags(rng, brands)}


def _tags(rng: random.Random, brands: Sequence[str]) -> dict[str, str]:
    tags = {"brand": rng.choice(brands), "source": rng.choice(_SOURCES)}
    return {name: value for name, value in tags.items() if rng.random() < 0.9}


def _cap(rng: random.Random) -> dict[str, Any]:
    cap = {"by": rng.choice(("brand", "source")), "limit": rng.randint(1, 4)}
    return cap | ({"window": rng.randint(1, 8)} if rng.random() < 0.6 else {})


def _floor(rng: random.Random) -> dict[str, Any]:
    return {"by": "source", "value": rng.choice(_SOURCES), "least": rng.randint(1, 3), "within": rng.randint(1, 10)}


Spoil = Callable[[dict[str, Any]], object]


def _first_id(request: Json) -> str:
    return str(request["candidates"][0]["id"])


SPOILS: Final[Mapping[str, tuple[str, Spoil]]] = {
    "a cap of 0": ("rules.caps[0].limit", lambda r: r["rules"].update(caps=[{"by": "brand", "limit": 0}])),
    "a window of 10,000": (
        "rules.caps[0].window",
        lambda r: r["rules"].update(caps=[{"by": "brand", "limit": 1, "window": 10_000}]),
    ),
    "1,000 pins": (
        "rules.pinned",
        lambda r: r["rules"].update(pinned=[{"id": f"p{i}", "position": i + 1} for i in range(1000)]),
    ),
    "17 caps": ("rules.caps", lambda r: r["rules"].update(caps=[{"by": "brand", "limit": 1}] * 17)),
    "17 floors": (
        "rules.floors",
        lambda r: r["rules"].update(floors=[{"by": "source", "value": "new", "least": 1, "within": 5}] * 17),
    ),
    "10,000 shown ids": ("shown", lambda r: r.update(shown=[f"s{i}" for i in range(10_000)], shown_items=[])),
    "a scene that does not exist": ("scene", lambda r: r.update(scene="no-such-scene")),
    "a pin twice": (
        "rules.pinned[1].id",
        lambda r: r["rules"].update(pinned=[{"id": _first_id(r), "position": i} for i in (1, 2)], blocked=[]),
    ),
    "a pin that is no candidate": (
        "rules.pinned[0].id",
        lambda r: r["rules"].update(pinned=[{"id": "nobody", "position": 1}]),
    ),
    "a pin beyond top_n": (
        "rules.pinned[0].position",
        lambda r: (
            r["rules"].update(pinned=[{"id": _first_id(r), "position": r["top_n"] + 1}], blocked=[]),
            r.update(shown=[], shown_items=[]),
        ),
    ),
    "a pin that is blocked": (
        "rules.pinned[0].id",
        lambda r: r["rules"].update(pinned=[{"id": _first_id(r), "position": 1}], blocked=[_first_id(r)]),
    ),
    "a value that is an array": (
        "rules.boosts[0].where.brand",
        lambda r: r["rules"].update(boosts=[{"where": {"brand": ["b1"]}, "factor": 2}]),
    ),
    "an item that was not shown": ("shown_items[0].id", lambda r: r.update(shown_items=[{"id": "never"}])),
}
"""What may be wrong with rules: the field that the answer must name, and what makes it so."""


def rule_problem(request: Json, answer: Json) -> str | None:
    """Return a rule that an answer breaks without saying so, or None."""
    return next(_problems(request, answer), None)


def _problems(request: Json, answer: Json) -> Iterator[str]:
    rules, items, relaxed = request["rules"], answer["items"], answer.get("relaxed", [])
    ids = [item["id"] for item in items]
    barred = {*rules["blocked"], *request["shown"]}
    allowed = {one["id"] for one in request["candidates"]} - barred
    if len(set(ids)) != len(ids) or not set(ids) <= allowed:
        yield "an id twice, or one that may not be returned"
    if len(ids) != min(request["top_n"], len(allowed)):
        yield f"{len(ids)} items instead of {min(request['top_n'], len(allowed))}"
    for pin in rules["pinned"]:
        if pin["position"] <= len(ids) and ids[pin["position"] - 1] != pin["id"]:
            yield f"{pin['id']} is not at its position {pin['position']}"
    tags = {one["id"]: one["tags"] for one in (*request["candidates"], *request["shown_items"])}
    for i, cap in enumerate(rules["caps"]):
        if f"caps[{i}]" not in relaxed and _breaks(cap, ids, request["shown"], tags):
            yield f"caps[{i}] is broken, and relaxed does not say so"
    for i, floor in enumerate(rules["floors"]):
        found = [tags[name].get(floor["by"]) for name in ids[: floor["within"]]].count(floor["value"])
        if f"floors[{i}]" not in relaxed and found < min(floor["least"], len(ids[: floor["within"]])):
            yield f"floors[{i}] is broken, and relaxed does not say so"


def _breaks(cap: Json, ids: Sequence[str], shown: Sequence[str], tags: Mapping[str, Json]) -> bool:
    """Tell whether a list breaks a cap.

    The windows that count are those that end within the list.
    """
    window = cap.get("window")
    row = [tags[name].get(cap["by"]) for name in ([*shown, *ids] if window else ids)]
    before = len(row) - len(ids)
    for end in range(before + 1, len(row) + 1):
        counts = Counter(value for value in row[max(0, end - (window or end)) : end] if value is not None)
        if row[end - 1] is not None and counts[row[end - 1]] > cap["limit"]:
            return True
    return False
