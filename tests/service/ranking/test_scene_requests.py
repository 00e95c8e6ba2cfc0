"""What a request with a scene is answered: the scene's settings, unless the request has its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.bundles.load import load_bundle
from service.contract.schemas import RerankRequest
from service.inference.onnx.session import SessionConfig
from service.ranking.merging import apply_scene
from service.ranking.rerank import Reranked, Reranker
from service.scenes.reading import parse_scenes
from service.scenes.scene import Scene
from service.timing.deadline import Deadline
from tests.service.live import Live, live_app
from tests.service.requests import request

SCENES = b"""
[scenes.home]
top_n = 4
objectives = { click = 1.0, gmv = 3.0 }
diversity = { lambda = 1.0 }

[scenes.home.rules]
pinned = [{ id = "sku-7", position = 2 }, { id = "ad", position = 1 }, { id = "sku-9", position = 4 }]
blocked = ["sku-3"]
caps = [{ by = "brand", limit = 2 }]
"""


@pytest.fixture(scope="module")
def live(ruled_bundle: Path) -> Iterator[Live]:
    """A server with a scene, whose model has a graph for rules."""
    with live_app(load_bundle(ruled_bundle, SessionConfig())) as server:
        server.scenes.swap(parse_scenes(SCENES))
        yield server


def home(**changes: Any) -> dict[str, Any]:
    sent = request(12, scene="home", **changes)
    for i, made in enumerate(sent["candidates"]):
        made["tags"] = {"brand": "ab"[i % 2]}
        made["scores"]["relevance"] = 0.5
    return sent


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def ignored(answer: dict[str, Any]) -> dict[str, str]:
    return {w["field"]: w["detail"] for w in answer["warnings"] if w["problem"] == "ignored-pin"}


def test_a_scene_fills_in_what_the_request_does_not_say(live: Live) -> None:
    answer = live.post(home()).json
    assert len(answer["items"]) == 4
    assert (ids(answer)[1], ids(answer)[3]) == ("sku-7", "sku-9")
    assert "sku-3" not in ids(answer)
    assert sorted("ab"[item["index"] % 2] for item in answer["items"]) == ["a", "a", "b", "b"]


def test_pins_of_a_scene_that_cannot_be_kept_are_ignored_named_and_counted(live: Live) -> None:
    before = live.series("rerank_ignored_pins_total", scene="home") or 0
    answer = live.post(home(top_n=3, shown=["sku-7"])).json
    found = ignored(answer)
    assert list(found) == ["rules.pinned[0]", "rules.pinned[1]", "rules.pinned[2]"]
    assert "'sku-7' has been shown" in found["rules.pinned[0]"]
    assert "'ad' is no candidate" in found["rules.pinned[1]"]
    assert "beyond top_n" in found["rules.pinned[2]"]
    assert all("scene 'home'" in detail for detail in found.values())
    assert live.series("rerank_ignored_pins_total", scene="home") == before + 3
    assert not any("pinned" in item for item in answer["items"])


def test_what_the_request_blocks_is_ignored_among_the_pins_of_its_scene(live: Live) -> None:
    answer = live.post(home(rules={"blocked": ["sku-7"]})).json
    assert "'sku-7' is blocked" in ignored(answer)["rules.pinned[0]"]
    assert "sku-7" not in ids(answer)


def test_a_pin_of_the_request_that_its_scene_blocks_is_refused_naming_both(live: Live) -> None:
    reply = live.post(home(rules={"pinned": [{"id": "sku-3", "position": 1}]}))
    assert reply.status == 422
    assert reply.json["errors"] == [
        {"field": "rules.pinned[0].id", "problem": "'sku-3' is also rules.blocked[0] of the scene 'home'"}
    ]
    reply = live.post(home(rules={"pinned": [{"id": "sku-3", "position": 1}], "blocked": []}))
    assert (reply.status, ids(reply.json)[0]) == (200, "sku-3")


def test_a_pin_of_the_request_past_the_places_of_its_scene_is_refused(live: Live) -> None:
    reply = live.post(home(rules={"pinned": [{"id": "sku-3", "position": 5}], "blocked": []}))
    assert reply.json["errors"][0]["problem"] == "5 is beyond top_n, which is 4"


def test_an_empty_array_of_the_request_lifts_the_rules_of_its_scene(live: Live) -> None:
    answer = live.post(home(rules={"pinned": [], "caps": [], "blocked": []})).json
    assert "warnings" not in answer
    assert "relaxed" not in answer


def test_a_scene_that_does_not_exist_is_refused_and_counted_under_no_scene(live: Live) -> None:
    reply = live.post({**home(), "scene": "nowhere"})
    assert reply.status == 422
    assert reply.json["errors"][0]["field"] == "scene"
    assert live.records[-1].scene == "none"
    assert live.post(home()).status == 200
    assert live.records[-1].scene == "home"


def test_each_request_of_a_batch_has_its_own_scene(live: Live) -> None:
    body = json.dumps({"requests": [home(), {**home(), "scene": None}]}).encode()
    before = len(live.records)
    reply = live.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json"})
    assert reply.status == 200, reply.json
    assert [len(result["response"]["items"]) for result in reply.json["results"]] == [4, 5]
    assert sorted(record.scene for record in live.records[before:]) == ["home", "none"]


SCENE = msgspec.convert(
    {
        "name": "s",
        "model": "m",
        "version": "2",
        "objectives": {"click": 1, "gmv": 2},
        "diversity": {"lambda": 0.1, "window": 2},
        "queues": [{"name": "q", "score": "ctr"}],
        "partition": "dfs",
        "top_n": 7,
        "timeout_ms": 30,
        "rules": {"blocked": ["a"], "caps": [{"by": "x", "limit": 1}]},
    },
    Scene,
)


def merge(**own: Any) -> RerankRequest:
    asked = msgspec.convert({"candidates": [{"id": "a", "scores": {}}], "scene": "s", **own}, RerankRequest)
    return apply_scene(asked, SCENE).request


def test_every_field_of_a_scene_is_taken_where_the_request_has_none() -> None:
    merged = merge()
    for name in set(SCENE.__struct_fields__) - {"name"}:
        assert getattr(merged, name) == getattr(SCENE, name), name


def test_what_the_request_says_wins_by_field_and_by_key() -> None:
    own = {
        "objectives": {"click": 5},
        "diversity": {"window": 0},
        "queues": [{"name": "p", "score": "cvr"}],
        "partition": "bfs",
        "top_n": 1,
        "timeout_ms": 5,
        "rules": {"caps": []},
    }
    merged = merge(**own)
    assert merged.objectives is not None
    assert merged.diversity is not None
    assert merged.rules is not None
    assert (merged.objectives.click, merged.objectives.conversion, merged.objectives.gmv) == (5, None, 2)
    assert (merged.diversity.trade_off, merged.diversity.window) == (0.1, 0)
    assert merged.queues is not None
    assert merged.queues[0].name == "p"
    assert (merged.partition, merged.top_n, merged.timeout_ms) == ("bfs", 1, 5)
    assert (merged.rules.caps, merged.rules.blocked) == ([], ["a"])


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("m", "2")),
        ({"version": "3"}, ("m", "3")),
        ({"model": "m"}, ("m", "2")),
        ({"model": "other"}, ("other", None)),
        ({"model": "other", "version": "1"}, ("other", "1")),
    ],
)
def test_a_version_of_a_scene_is_not_taken_for_another_model(own: dict[str, str], expected: tuple[str, str]) -> None:
    merged = merge(**own)
    assert (merged.model, merged.version) == expected


def test_only_the_keys_that_the_scene_gave_count_as_inherited() -> None:
    asked = msgspec.convert(
        {"candidates": [{"id": "a", "scores": {}}], "rules": {"blocked": []}, "scene": "s"}, RerankRequest
    )
    inherited = apply_scene(asked, SCENE).inherited
    assert (inherited.scene, inherited.keys) == ("s", frozenset({"caps"}))


def test_in_a_batch_the_time_of_a_scene_counts_from_the_turn_and_that_of_a_request_from_the_arrival(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    due: list[float] = []
    rerank = Reranker.rerank

    async def noted(self: Reranker, *args: Any, deadline: Deadline, **others: Any) -> Reranked:
        due.append(deadline.at)
        return await rerank(self, *args, deadline=deadline, **others)

    monkeypatch.setattr(Reranker, "rerank", noted)
    live.scenes.swap(parse_scenes(SCENES + b"[scenes.timed]\ntimeout_ms = 10000\n"))
    for sent, moments in ((request(scene="timed"), 3), (request(timeout_ms=10_000), 1)):
        due.clear()
        body = json.dumps({"requests": [sent] * 3}).encode()
        assert live.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json"}).status == 200
        assert len(set(due)) == moments
