"""The demo's scene is one that the service takes, and the demo notices when it is not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from loadtest.demo_requests import read_demo_requests
from loadtest.demo_scene import SCENE, SCENES, SPONSORED, broken, scene_lines, with_brands
from loadtest.rig.server import ServerError
from service.scenes.reading import parse_scenes

LIST_LENGTH = 10


def item(index: int, position: int, request: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": request["candidates"][index]["id"], "index": index, "position": position, **more}


def answer(request: Mapping[str, Any], places: list[int], pinned: int | None) -> dict[str, Any]:
    items = [item(index, i, request, **({"pinned": True} if i == pinned else {})) for i, index in enumerate(places, 1)]
    return {"items": items}


def kept(request: Mapping[str, Any]) -> list[int]:
    """Places that keep the cap, with the sponsored item third: b1 b2, then brands in turn."""
    return [0, 3, len(request["candidates"]) - 1, 5, 6, 1, 4, 2, 12, 13]


def test_the_scene_is_one_that_the_service_takes() -> None:
    scenes = parse_scenes(SCENES.read_bytes())
    assert list(scenes) == [SCENE]
    rules = scenes[SCENE].rules
    assert rules is not None
    assert rules.pinned
    assert rules.caps
    assert rules.pinned[0].id == SPONSORED


@pytest.mark.parametrize(
    ("brands", "window", "positions"),
    [
        ("", 4, []),
        ("aabb", 4, []),
        ("aaab", 4, [3]),
        ("aabba", 4, []),
        ("aabba", 5, [5]),
        ("aabbacca", 4, []),
        ("aaaa", 4, [3, 4]),
    ],
)
def test_positions_that_break_a_cap_are_found(brands: str, window: int, positions: list[int]) -> None:
    assert broken(list(brands), 2, window) == positions


def test_both_lists_are_shown_with_the_pin_and_the_brands() -> None:
    asked: list[dict[str, Any]] = []

    def rerank(request: Any) -> Any:
        asked.append(request)
        ruled = "scene" in request
        return answer(request, kept(request) if ruled else list(range(LIST_LENGTH)), 3 if ruled else None)

    lines = list(scene_lines(read_demo_requests()[0], rerank))
    plain, ruled = asked
    assert ruled["scene"] == SCENE
    assert not {"scene", "rules"} & plain.keys()
    assert plain["top_n"] == LIST_LENGTH
    assert len(lines) == LIST_LENGTH + 3
    assert lines[4].split()[-4:] == [SPONSORED, "b5", lines[4].split()[-2], "pinned"]
    assert lines[-1].split(":")[1].strip().endswith("0 with it.")
    assert not lines[-1].split(":")[1].strip().startswith("0 ")


def test_a_scene_that_was_not_kept_is_a_fault() -> None:
    request = read_demo_requests()[0]
    with pytest.raises(ServerError, match="the scene pins"):
        list(scene_lines(request, lambda asked: answer(asked, kept(asked), None)))
    first = [0, 1, 20, 2, *range(3, 9)]
    with pytest.raises(ServerError, match=r"is broken at \[4"):
        list(scene_lines(request, lambda asked: answer(asked, first, 3)))
    relaxed = {"relaxed": ["caps[0]"]}
    assert list(scene_lines(request, lambda asked: {**answer(asked, first, 3), **relaxed}))


def test_the_sponsored_candidate_is_added_to_those_of_the_request() -> None:
    request = read_demo_requests()[0]
    made = with_brands(request)
    assert [c["id"] for c in made["candidates"]] == [*(c["id"] for c in request["candidates"]), SPONSORED]
    assert all(c["tags"]["brand"] for c in made["candidates"])
    assert "tags" not in request["candidates"][0]
