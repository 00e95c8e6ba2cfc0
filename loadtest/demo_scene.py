"""Show a scene in the demo: a sponsored item, and a cap on brands."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.rig.server import ServerError

SCENES: Final = Path(__file__).with_name("demo_scenes.toml")
SCENE: Final = "home-feed"
SPONSORED: Final = "sponsored"
NO_RULES: Final = "\n  The bundle has no graph for rules, so the scene is left out. Export it again to see it."
_BRANDS: Final = ("b1", "b1", "b1", "b2", "b2", "b3", "b4")
"""Brands of candidates in turn: three of seven are of one."""

Json = Mapping[str, Any]
Rerank = Callable[[Json], Json]


def with_brands(request: Json) -> dict[str, Any]:
    """Return the request with brands, and with a sponsored candidate at the end."""
    candidates = enumerate(request["candidates"])
    tagged = [{**one, "tags": {"brand": _BRANDS[i % len(_BRANDS)]}} for i, one in candidates]
    sponsored = {**tagged[-1], "id": SPONSORED, "tags": {"brand": "b5"}}
    return {**request, "candidates": [*tagged, sponsored]}


def scene_lines(request: Json, rerank: Rerank) -> Iterator[str]:
    """Show the list of a request without the scene and with it.

    Raises `ServerError` if the scene was not kept.
    """
    scene = tomllib.loads(SCENES.read_text("utf-8"))["scenes"][SCENE]
    rules = scene["rules"]
    pin, cap = rules["pinned"][0], rules["caps"][0]
    asked = with_brands(request)
    settings = {name: scene[name] for name in ("top_n", "objectives", "diversity")}
    plain, ruled = rerank({**asked, **settings}), rerank({**asked, "scene": SCENE})
    _check(asked, ruled, pin, cap)
    limit, window = cap["limit"], cap["window"]
    yield f'\n  "scene": "{SCENE}": {pin["id"]} at {pin["position"]}; at most {limit} of a brand in any {window} places'
    yield f"{'':>5}  {'without the scene':<26}  with it"
    for place, (before, after) in enumerate(zip(plain["items"], ruled["items"], strict=True), 1):
        mark = "  pinned" if after.get("pinned") else ""
        yield f"{place:>5}  {_describe(asked, before):<26}  {_describe(asked, after)}{mark}"
    counts = [len(broken(_brands(asked, answer), limit, window)) for answer in (plain, ruled)]
    yield f"  Positions that break the cap: {counts[0]} without the scene, {counts[1]} with it."


def _check(request: Json, answer: Json, pin: Json, cap: Json) -> None:
    items = answer["items"]
    pinned = [(item["id"], item["position"]) for item in items if item.get("pinned")]
    if pinned != [(pin["id"], pin["position"])]:
        raise ServerError(f"the scene pins {pin}, but the answer has {pinned}")
    over = broken(_brands(request, answer), cap["limit"], cap["window"])
    if over and "caps[0]" not in answer.get("relaxed", ()):
        raise ServerError(f"the cap of the scene is broken at {over}, and the answer does not say so")


def broken(brands: Sequence[str], limit: int, window: int) -> list[int]:
    """List the positions, from 1, that break a cap on brands.

    There the brand stands more than `limit` times in the `window` places that end with it.
    """
    ends = range(1, len(brands) + 1)
    return [end for end in ends if brands[max(0, end - window) : end].count(brands[end - 1]) > limit]


def _brands(request: Json, answer: Json) -> list[str]:
    return [request["candidates"][item["index"]]["tags"]["brand"] for item in answer["items"]]


def _describe(request: Json, item: Json) -> str:
    candidate = request["candidates"][item["index"]]
    return f"{candidate['id']:<10} {candidate['tags']['brand']:<3} {candidate.get('price') or 0:>9.2f}"
