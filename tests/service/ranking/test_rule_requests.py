"""What requests with rules are answered, over a real socket: contradictions, pins, blocked items, explanations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.manifest import Manifest
from models.contract.rules.tensors import STEP_BARS
from service.bundles.load import load_bundle
from service.inference.engine import BatchArrays
from service.inference.onnx.session import SessionConfig
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import Arrays, Options

BRANDS = "abcabcabcabc"


@pytest.fixture(scope="module")
def ruled(ruled_bundle: Path) -> Iterator[Live]:
    """A server whose model has a graph for rules."""
    with live_app(load_bundle(ruled_bundle, SessionConfig())) as live:
        yield live


def branded(n: int = 12, brands: str = BRANDS, **changes: Any) -> dict[str, Any]:
    """Candidates with a tag for the brand; their ids are sku-0 … and the first is the best by every formula."""
    sent = request(n, **changes)
    for i, made in enumerate(sent["candidates"]):
        made["tags"] = {"brand": brands[i % len(brands)]}
        made["scores"] = {"ctr": 0.5 - 0.01 * i, "cvr": 0.1, "relevance": 0.5}
        made["price"] = 20.0
    return sent


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


PIN = {"id": "sku-7", "position": 2}
CONTRADICTIONS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "two pins on one position": (
        {"rules": {"pinned": [PIN, {"id": "sku-8", "position": 2}]}},
        ("rules.pinned[1].position", "rules.pinned[0]"),
    ),
    "one item pinned twice": (
        {"rules": {"pinned": [PIN, {"id": "sku-7", "position": 3}]}},
        ("rules.pinned[1].id", "rules.pinned[0]"),
    ),
    "pinned and blocked": (
        {"rules": {"pinned": [PIN], "blocked": ["x", "sku-7"]}},
        ("rules.pinned[0].id", "rules.blocked[1]"),
    ),
    "pinned and shown": ({"rules": {"pinned": [PIN]}, "shown": ["sku-7"]}, ("rules.pinned[0].id", "shown[0]")),
    "beyond top_n": ({"rules": {"pinned": [PIN]}, "top_n": 1}, ("rules.pinned[0].position", "top_n")),
    "beyond the model's list": (
        {"rules": {"pinned": [{"id": "sku-7", "position": 6}]}},
        ("rules.pinned[0].position", "the model's list length"),
    ),
    "no candidate": ({"rules": {"pinned": [{"id": "x", "position": 1}]}}, ("rules.pinned[0].id", "candidates")),
    "not shown": ({"shown": ["a"], "shown_items": [{"id": "b"}]}, ("shown_items[0].id", "shown")),
    "shown_items without shown": ({"shown_items": [{"id": "b"}]}, ("shown_items[0].id", "shown")),
    "a shown item twice": (
        {"shown": ["a"], "shown_items": [{"id": "a"}, {"id": "a"}]},
        ("shown_items[1].id", "shown_items[0]"),
    ),
    "another width of embedding": (
        {"shown": ["a"], "shown_items": [{"id": "a", "embedding": [1.0]}]},
        ("shown_items[0].embedding", "candidates[0]"),
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_naming_both_fields(ruled: Live, name: str) -> None:
    changes, (field, other) = CONTRADICTIONS[name]
    reply = ruled.post(branded(**changes))
    assert reply.status == 422
    error = reply.json["errors"][0]
    assert error["field"] == field
    assert other in error["problem"]


def test_the_widths_of_shown_items_alone_are_compared_too(ruled: Live) -> None:
    sent = branded(shown=["a", "b"], shown_items=[{"id": "a", "embedding": [1.0]}, {"id": "b", "embedding": [1.0, 2]}])
    for made in sent["candidates"]:
        del made["embedding"]
    reply = ruled.post(sent)
    assert reply.status == 422
    assert "shown_items[1].embedding: has 2 numbers, but that of shown_items[0] has 1" in reply.json["detail"]


def test_rules_that_would_hold_everybody_up_are_refused_by_name(ruled: Live) -> None:
    caps = [{"by": f"t{i}", "limit": 1} for i in range(16)]
    sent = branded(n=400, rules={"caps": caps})
    for i, made in enumerate(sent["candidates"]):
        made["tags"] = {f"t{k}": (i + k) % 200 for k in range(16)}
    error = ruled.post(sent).json["errors"][0]
    assert error["field"] == "rules.caps[10]"
    assert "all caps may have 2000 groups" in error["problem"]
    boosts = [{"where": {f"x{16 * i + k}": 1 for k in range(16)}, "factor": 2.0} for i in range(2)]
    assert ruled.post(branded(rules={"boosts": boosts})).status == 200
    more = [*boosts, {"where": {"x0": 1, "x32": 1}, "factor": 2.0}]
    error = ruled.post(branded(rules={"boosts": more})).json["errors"][0]
    assert error["field"] == "rules.boosts[2].where.x32"
    assert "32 different" in error["problem"]


def test_ids_may_be_blocked_and_shown_twice_and_be_no_candidates(ruled: Live) -> None:
    answer = ruled.post(branded(rules={"blocked": ["sku-0", "sku-0", "x"]}, shown=["sku-1", "y", "sku-1"])).json
    assert ids(answer) == ["sku-2", "sku-3", "sku-4", "sku-5", "sku-6"]
    assert all(item["source"] == "model" for item in answer["items"])


@pytest.mark.parametrize("changes", [{"rules": {"blocked": [f"sku-{i}" for i in range(12)]}}, {"top_n": 3}])
def test_where_all_are_blocked_the_list_is_empty_and_the_model_is_not_asked(changes: dict[str, Any]) -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live:
        sent = branded(**{"shown": [f"sku-{i}" for i in range(12)], **changes}, explain=True)
        reply = live.post(sent)
        assert reply.status == 200
        assert (reply.json["items"], reply.json["degraded"]) == ([], None)
        assert reply.json["value"] == {"click": 0.0, "conversion": 0.0, "gmv": 0.0}
        assert engine.batches == []
        assert (live.records[-1].outcome, live.records[-1].health) == ("ok", None)


def test_pins_stand_where_they_are_wanted_and_say_so(ruled: Live) -> None:
    pins = [{"id": "sku-11", "position": 1}, {"id": "sku-9", "position": 7}]
    answer = ruled.post(branded(rules={"pinned": pins}, top_n=8)).json
    assert ids(answer)[0] == "sku-11"
    assert ids(answer)[6] == "sku-9"
    assert [item.get("pinned") for item in answer["items"]] == [True, None, None, None, None, None, True, None]
    assert "relaxed" not in answer


def test_a_pin_past_a_short_list_stands_last(ruled: Live) -> None:
    answer = ruled.post(branded(3, rules={"pinned": [{"id": "sku-0", "position": 9}]}, top_n=10)).json
    assert ids(answer)[-1] == "sku-0"
    assert answer["items"][-1]["pinned"] is True


def test_a_cap_is_kept_and_named_only_where_it_cannot_be(ruled: Live) -> None:
    rules = {"caps": [{"by": "brand", "limit": 1, "window": 2}]}
    answer = ruled.post(branded(brands="aaabbb", rules=rules)).json
    brands = ["aaabbb"[item["index"] % 6] for item in answer["items"]]
    assert all(a != b for a, b in itertools.pairwise(brands))
    assert "relaxed" not in answer
    answer = ruled.post(branded(brands="a", rules=rules)).json
    assert answer["relaxed"] == ["caps[0]"]
    assert [item["source"] for item in answer["items"]] == ["model"] + ["formula"] * 4


def test_an_explanation_names_boosts_and_what_was_passed_over(ruled: Live) -> None:
    rules = {
        "pinned": [{"id": "sku-11", "position": 1}],
        "caps": [{"by": "brand", "limit": 1, "window": 2}],
        "boosts": [{"where": {"brand": "b"}, "factor": 1.5}, {"where": {"category": "none"}, "factor": 2}],
    }
    one_queue = [{"name": "click", "score": "ctr"}]
    sent = branded(brands="aaab", rules=rules, queues=one_queue, top_n=3, explain=True)
    answer = ruled.post(sent).json
    first, second, third = (item["explanation"] for item in answer["items"])
    assert answer["items"][0]["id"] == "sku-11"
    assert first["boost"] == 1.5
    assert [over["rule"] for over in first["passed_over"]] == ["pinned"]
    # Boosted, those of brand b stand in front of the queue; behind the pin, one of them, an a must come.
    names = {c["id"]: c["tags"]["brand"] for c in sent["candidates"]}
    assert [names[item["id"]] for item in answer["items"]] == ["b", "a", "b"]
    assert [(over["queue"], over["rule"]) for over in second["passed_over"]] == [("click", "caps[0]")] * 2
    assert {names[over["id"]] for over in second["passed_over"]} == {"b"}
    assert "boost" not in second
    assert third["boost"] == 1.5
    assert "passed_over" not in third


def test_a_boost_is_in_the_score_and_not_in_the_parts(ruled: Live) -> None:
    sent = branded(explain=True, diversity={"lambda": 1.0})
    plain = {item["id"]: item["explanation"] for item in ruled.post(sent).json["items"]}
    sent["rules"] = {"boosts": [{"where": {"brand": "a"}, "factor": 2.0}]}
    brands = {c["id"]: c["tags"]["brand"] for c in sent["candidates"]}
    items = ruled.post(sent).json["items"]
    assert "a" in {brands[item["id"]] for item in items}
    for item in items:
        why = item["explanation"]
        if item["id"] in plain:
            assert why["parts"] == plain[item["id"]]["parts"]
        assert why.get("boost") == (2.0 if brands[item["id"]] == "a" else None)
        assert why["score"] == pytest.approx(why.get("boost", 1.0) * sum(why["parts"].values()), rel=1e-5)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"pinned": [{"id": "sku-7", "position": 2}], "caps": [{"by": "brand", "limit": 1}]}, "rules.pinned[0]"),
        ({"caps": [{"by": "none", "limit": 1}, {"by": "brand", "limit": 1}]}, "rules.caps[1]"),
        ({"floors": [{"by": "brand", "value": "c", "least": 2, "within": 3}]}, "rules.floors[0]"),
        ({"boosts": [{"where": {"brand": "c"}, "factor": 2}]}, "rules.boosts[0]"),
    ],
)
def test_a_model_without_a_graph_for_rules_refuses_them(server: Live, rules: dict[str, Any], field: str) -> None:
    reply = server.post(branded(rules=rules))
    assert reply.status == 422
    assert reply.json["errors"][0]["field"] == field
    assert "has no graph for rules" in reply.json["detail"]
    assert server.post(branded()).status == 200


def test_a_model_without_a_graph_for_rules_keeps_what_needs_none(any_server: Live) -> None:
    rules = {"blocked": ["sku-0"], "caps": [{"by": "brand", "limit": 4}, {"by": "brand", "limit": 9, "window": 9}]}
    answer = any_server.post(branded(rules=rules, shown=["sku-1"], diversity={"lambda": 1.0}, top_n=11)).json
    assert len(answer["items"]) == 10
    assert {"sku-0", "sku-1"}.isdisjoint(ids(answer))
    assert {item["source"] for item in answer["items"][:5]} == {"model"}
    assert "warnings" not in answer
    assert "relaxed" not in answer


def test_a_model_without_a_graph_for_rules_says_that_shown_items_do_not_count(server: Live, ruled: Live) -> None:
    sent = branded(shown=["sku-1"], diversity={"lambda": 0.5, "window": 3})
    warnings = server.post(sent).json["warnings"]
    assert [(w["field"], w["problem"]) for w in warnings] == [("shown", "ignored-shown")]
    assert "warnings" not in ruled.post(sent).json


def test_fields_that_no_candidate_has_are_warned_of(ruled: Live) -> None:
    rules = {
        "caps": [{"by": "brand", "limit": 3}, {"by": "nothing", "limit": 1}],
        "floors": [{"by": "origin", "value": 1, "least": 1, "within": 2}],
        "boosts": [{"where": {"brand": "a", "season": "new"}, "factor": 2}],
    }
    answer = ruled.post(branded(rules=rules)).json
    assert [(w["field"], w["problem"]) for w in answer["warnings"]] == [
        ("rules.caps[1].by", "missing"),
        ("rules.floors[0].by", "missing"),
        ("rules.boosts[0].where.season", "missing"),
    ]
    assert answer["relaxed"] == ["floors[0]"]


class Blind(FakeEngine):
    """A graph that takes the tensors of rules and does not look at them."""

    def run(self, batch: BatchArrays) -> Arrays:
        assert STEP_BARS in batch
        return super().run({name: np.asarray(array) for name, array in batch.items()})


def test_a_list_of_the_model_that_breaks_a_rule_reaches_no_client() -> None:
    with live_app(fake_model(Blind(), Options(groups=4))) as live:
        reply = live.post(branded(brands="aaab", rules={"caps": [{"by": "brand", "limit": 1, "window": 2}]}))
        assert reply.json["degraded"] == {"reason": "model-error", "level": "formula"}
        brands = ["aaab"[item["index"] % 4] for item in reply.json["items"]]
        assert brands == ["a", "b", "a", "b", "a"]


def test_a_list_that_breaks_a_rule_which_its_graph_did_not_know_is_cut_there() -> None:
    caps = [{"by": "brand", "limit": 1, "window": w} for w in (2, 3)]
    with live_app(fake_model(Blind(), Options(groups=1))) as live:
        answer = live.post(branded(brands="aabbcc", rules={"caps": caps})).json
        assert answer["degraded"] is None
        assert next(item["source"] for item in answer["items"]) == "model"
        brands = ["aabbcc"[item["index"] % 6] for item in answer["items"]]
        assert all(len(set(brands[i : i + 3])) == 3 for i in range(3))


def test_more_groups_than_the_graph_has_are_kept_too(ruled: Live, ruled_bundle: Path) -> None:
    graph = Manifest.read(ruled_bundle).ruled
    assert graph is not None
    count = 2 * graph.groups
    brands = "".join(chr(ord("a") + i) for i in range(count))
    sent = branded(3 * count, brands=brands, top_n=count, rules={"caps": [{"by": "brand", "limit": 1}]})
    reply = ruled.post(sent)
    assert reply.status == 200
    assert len({item["index"] % count for item in reply.json["items"]}) == len(reply.json["items"]) == count
    assert reply.json["items"][0]["source"] == "model"
    assert "relaxed" not in reply.json


def test_too_many_places_for_so_many_caps_and_floors_are_refused(ruled: Live) -> None:
    rules = {
        "caps": [{"by": "brand", "limit": 9}] * 16,
        "floors": [{"by": "brand", "value": "a", "least": 1, "within": 1}] * 16,
    }
    reply = ruled.post(request(130, top_n=126, rules=rules))
    assert reply.status == 422
    assert reply.json["errors"][0]["field"] == "top_n"
    assert "at most 125 are allowed" in reply.json["detail"]
    assert ruled.post(request(130, top_n=125, rules=rules)).status == 200


def test_requests_of_a_batch_keep_rules_each_its_own(ruled: Live) -> None:
    one = branded(rules={"blocked": ["sku-0"]})
    other = branded(rules={"pinned": [{"id": "sku-11", "position": 1}]})
    wrong = branded(rules={"pinned": [{"id": "x", "position": 1}]})
    body = json.dumps({"requests": [one, other, branded(), wrong]}).encode()
    reply = ruled.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json"})
    results = reply.json["results"]
    assert [result["status"] for result in results] == [200, 200, 200, 422]
    assert "sku-0" not in ids(results[0]["response"])
    assert ids(results[1]["response"])[0] == "sku-11"
    assert ids(results[2]["response"])[0] == "sku-0"
    assert results[3]["problem"]["errors"][0]["field"] == "rules.pinned[0].id"


def test_a_boost_past_the_largest_number_is_answered_with_a_list(ruled: Live) -> None:
    sent = branded(40, queues=[{"name": "most", "score": "margin"}])
    for i, made in enumerate(sent["candidates"]):
        made["scores"]["margin"] = 1e306 * (i + 1)
    sent["rules"] = {"boosts": [{"where": {"brand": "a"}, "factor": 1000}]}
    reply = ruled.post(sent)
    assert reply.status == 200, reply.body
    assert {item["source"] for item in reply.json["items"]} == {"model"}
