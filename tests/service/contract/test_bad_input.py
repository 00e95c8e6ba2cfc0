"""Every request that is wrong gets the right 4xx, over a real socket, and the answer names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.service.live import Live, Reply
from tests.service.requests import candidate, request

CAP = {"by": "brand", "limit": 2}
FLOOR = {"by": "brand", "value": "b1", "least": 1, "within": 3}


def assert_problem(reply: Reply, status: int, slug: str, field: str | None = None, text: str = "") -> None:
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json
    assert problem["type"] == f"urn:listwright:problem:{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert text in problem["detail"]
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field], problem
        assert problem["errors"][0]["problem"]


def with_candidate(**changes: Any) -> dict[str, Any]:
    """A request whose candidate 3 is changed."""
    sent = request()
    sent["candidates"][3] = candidate(3, **changes)
    return sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"candidates": [}',
        b"not json",
        b"\xff\xfe",
        b'{"candidates": [{"id": "\xff", "scores": {}}]}',
        b'{"candidates": [{"id": "\\ud800", "scores": {}}]}',
        b'{"candidates": [{"id": "a", "scores": {}}]} x',
        b'{"candidates": [{"id": "a", "scores": {}}], "user": ' + b'{"a":' * 100_000,
        b"[" * 1_000_000,
        b'{"a":',
        b"[1,",
        b'"abc',
        b'{"top_n": 0, "surprise": ',
        b'{"a": "\\ud800", "n": ' + b"9" * 4301 + b', "d": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    ],
)
def test_malformed_json_is_400(any_server: Live, body: bytes) -> None:
    assert_problem(any_server.post(body), 400, "malformed-json")


@pytest.mark.parametrize("body", ["[]", "null", "3", '"text"', "true"])
def test_a_body_that_is_no_object_is_422(any_server: Live, body: str) -> None:
    assert_problem(any_server.post(body.encode()), 422, "invalid-request", "")


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("candidates[3].scores.cvr", lambda x: with_candidate(scores={"ctr": 0.1, "cvr": x})),
        ("candidates[3].price", lambda x: with_candidate(price=x)),
        ("candidates[3].features.stars", lambda x: with_candidate(features={"category": "hats", "stars": x})),
        ("candidates[3].embedding[1]", lambda x: with_candidate(embedding=[1.0, x, 0.0, 0.0])),
        ("user.visits", lambda x: request(user={"age": "35+", "visits": x})),
        ("context.hour", lambda x: request(context={"hour": x})),
        ("top_n", lambda x: request(top_n=x)),
        ("objectives.gmv", lambda x: request(objectives={"gmv": x})),
        ("diversity.lambda", lambda x: request(diversity={"lambda": x})),
        ("diversity.window", lambda x: request(diversity={"window": x})),
        ("timeout_ms", lambda x: request(timeout_ms=x)),
    ],
)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_422_and_named(any_server: Live, path: str, changed: Any, number: str) -> None:
    body = json.dumps(changed("@")).replace('"@"', number)
    assert_problem(any_server.post(body.encode()), 422, "invalid-request", path)


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("candidates", {}),
        ("candidates", {"candidates": []}),
        ("candidates", {"candidates": None}),
        ("candidates[3].id", with_candidate(id="sku-1")),
        ("candidates[3].id", with_candidate(id="")),
        ("candidates[3].id", with_candidate(id=3)),
        ("candidates[3].scores", {"candidates": [*request(3)["candidates"], {"id": "x"}]}),
        ("candidates[3].scores.cvr", with_candidate(scores={"ctr": 0.1, "cvr": "0.2"})),
        ("candidates[3].scores", with_candidate(scores=None)),
        ("candidates[3].id", with_candidate(id=None)),
        ("candidates[3].embedding[1]", with_candidate(embedding=[1.0, None, 0.0, 0.0])),
        ("queues[0].score", request(queues=[{"name": "a", "score": None}])),
        ("candidates[3].scores.cvr", with_candidate(scores={"ctr": 0.1, "cvr": True})),
        ("candidates[3].scores.ctr", with_candidate(scores={"ctr": 1.5, "cvr": 0.1})),
        ("candidates[3].scores.ctr", with_candidate(scores={"ctr": -0.1, "cvr": 0.1})),
        ("candidates[3].price", with_candidate(price=-0.01)),
        ("candidates[3].price", with_candidate(price=1e300)),
        ("candidates[3].features.category", with_candidate(features={"category": ["shoes"]})),
        ("candidates[3].features.stars", with_candidate(features={"stars": "five"})),
        ("candidates[3].features.stars", with_candidate(features={"stars": 10**400})),
        ("candidates[3].tags.source", with_candidate(tags={"brand": "b1", "source": ["new"]})),
        ("rules.boosts[0].where.b", request(rules={"boosts": [{"where": {"a": 1, "b": None}, "factor": 2}]})),
        ("rules.pinned[0].position", request(rules={"pinned": [{"id": "a", "position": None}]})),
        ("candidates[3].embedding", with_candidate(embedding=[1.0, 2.0])),
        ("candidates[3].embedding", with_candidate(embedding=[])),
        ("candidates[3].colour", with_candidate(colour="red")),
        ("user.visits", request(user={"visits": "often"})),
        ("modle", request(modle="tiny")),
        ("model", request(model="nope")),
        ("top_n", request(top_n=0)),
        ("top_n", request(top_n=-1)),
        ("top_n", request(top_n=2.5)),
        ("request_id", request(request_id="")),
        ("request_id", request(request_id="x" * 129)),
        ("objectives", request(objectives={"click": 0, "conversion": 0, "gmv": 0})),
        ("objectives.click", request(objectives={"click": -1})),
        ("objectives.clicks", request(objectives={"clicks": 1})),
        ("diversity.lambda", request(diversity={"lambda": 1.01})),
        ("diversity.lambda", request(diversity={"lambda": -0.01})),
        ("diversity.window", request(diversity={"window": -1})),
        ("diversity.window", request(diversity={"window": 1.5})),
        ("queues", request(queues=[])),
        ("queues", request(queues=[{"name": f"q{i}", "score": "ctr"} for i in range(4)])),
        ("queues[1].name", request(queues=[{"name": "a", "score": "ctr"}, {"name": "a", "score": "cvr"}])),
        ("queues[0].formula", request(queues=[{"name": "a", "score": "ctr", "formula": "x"}])),
        ("queues", request(queues=[{"name": f"q{i}", "score": "ctr" + "+ctr" * 70} for i in range(16)])),
        ("partition", request(partition="random")),
        ("timeout_ms", request(timeout_ms=0)),
        ("explain", request(explain="yes")),
        ("candidates[3].tags.brand", with_candidate(tags={"brand": ["b1"]})),
        ("rules", request(rules=[])),
        ("rules.pins", request(rules={"pins": []})),
        ("rules.pinned", request(rules={"pinned": [{"id": f"sku-{i}", "position": i + 1} for i in range(1000)]})),
        ("rules.pinned[0].id", request(rules={"pinned": [{"id": 3, "position": 1}]})),
        ("rules.pinned[0].id", request(rules={"pinned": [{"id": None, "position": 1}]})),
        ("rules.pinned[0].position", request(rules={"pinned": [{"id": "sku-1", "position": 0}]})),
        ("rules.blocked", request(rules={"blocked": [f"sku-{i}" for i in range(5001)]})),
        ("rules.blocked[1]", request(rules={"blocked": ["sku-1", None]})),
        ("rules.caps", request(rules={"caps": [{"by": "brand", "limit": 1}] * 17})),
        ("rules.caps[0]", request(rules={"caps": [None]})),
        ("rules.caps[0].limit", request(rules={"caps": [{"by": "brand", "limit": 0}]})),
        ("rules.caps[0].limit", request(rules={"caps": [{"by": "brand"}]})),
        ("rules.caps[1].window", request(rules={"caps": [CAP, {"by": "brand", "limit": 2, "window": 10_000}]})),
        ("rules.caps[1].window", request(rules={"caps": [CAP, {"by": "brand", "limit": 2, "window": 0}]})),
        ("rules.floors", request(rules={"floors": [FLOOR] * 17})),
        ("rules.floors[0].value", request(rules={"floors": [{**FLOOR, "value": ["b1"]}]})),
        ("rules.floors[0].within", request(rules={"floors": [{**FLOOR, "within": None}]})),
        ("rules.boosts", request(rules={"boosts": [{"where": {"brand": "b1"}, "factor": 2}] * 33})),
        ("rules.boosts[0].where", request(rules={"boosts": [{"where": {}, "factor": 2}]})),
        ("rules.boosts[0].where.brand", request(rules={"boosts": [{"where": {"brand": None}, "factor": 2}]})),
        ("rules.boosts[0].where.brand", request(rules={"boosts": [{"where": {"brand": {}}, "factor": 2}]})),
        ("rules.boosts[0].factor", request(rules={"boosts": [{"where": {"brand": "b1"}, "factor": 0}]})),
        ("shown", request(shown=[f"old-{i}" for i in range(10_000)])),
        ("shown[1]", request(shown=["old-1", ""])),
        ("shown_items", request(shown=["old-1"], shown_items=[{"id": "old-1"}] * 201)),
        ("shown_items[0].tags.brand", request(shown=["old-1"], shown_items=[{"id": "old-1", "tags": {"brand": []}}])),
        ("shown_items[0].price", request(shown=["old-1"], shown_items=[{"id": "old-1", "price": 1}])),
        ("scene", request(scene="")),
        ("scene", request(scene=7)),
    ],
)
def test_a_wrong_field_is_422_and_named(any_server: Live, field: str, sent: dict[str, Any]) -> None:
    assert_problem(any_server.post(sent), 422, "invalid-request", field)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("ctr*margin", "margin"),
        ("ctr*(", "not an arithmetic expression"),
        ("", "length >= 1"),
        ("max(ctr, cvr)", "max(ctr, cvr)"),
        ("ctr.real", "ctr.real"),
        ("__import__('os').system('true')", "may only use"),
        ("ctr if cvr else 1", "may only use"),
        ("[ctr][0]", "may only use"),
        ("'a'", "may only use"),
        ("ctr**1000", "may only raise"),
        ("1e999*ctr", "too large"),
        ("ctr+" * 200 + "ctr", "longer than"),
        ("-" * 100 + "ctr", "nested deeper"),
        ("1/(ctr-ctr)", "inf"),
        ("(ctr-ctr)/(ctr-ctr)", "nan"),
    ],
)
def test_a_formula_that_cannot_be_computed_is_422(any_server: Live, formula: str, text: str) -> None:
    reply = any_server.post(request(queues=[{"name": "ok", "score": "ctr"}, {"name": "bad", "score": formula}]))
    assert_problem(reply, 422, "invalid-request", "queues[1].score", text)


def test_a_score_that_one_candidate_lacks_is_422_where_the_model_has_no_default(any_server: Live) -> None:
    sent = request(queues=[{"name": "own", "score": "margin"}])
    for place in (0, 1, 2, 4, 5, 6, 7):
        sent["candidates"][place]["scores"]["margin"] = 0.5
    assert_problem(any_server.post(sent), 422, "invalid-request", "candidates[3].scores.margin", "is missing")


def test_default_queues_without_their_scores_are_422(any_server: Live) -> None:
    sent = {"candidates": [{"id": "a", "scores": {}}, {"id": "b", "scores": {"relevance": 1.0}}]}
    assert_problem(any_server.post(sent), 422, "invalid-request", "candidates", "no candidate has the score 'ctr'")


def test_more_candidates_than_allowed_are_422(any_server: Live) -> None:
    assert_problem(any_server.post(request(2001)), 422, "invalid-request", "candidates", "at most 2000")


def test_a_huge_integer_in_a_category_is_422(any_server: Live) -> None:
    body = json.dumps(with_candidate(features={"brand": "@"})).replace('"@"', "9" * 5000)
    assert_problem(any_server.post(body.encode()), 422, "invalid-request", "candidates[3].features.brand")


def test_a_refused_value_before_a_repeated_key_is_still_422(any_server: Live) -> None:
    body = b'{"candidates": [{"id": "a", "scores": {"ctr": "x"}}], "candidates": []}'
    assert_problem(any_server.post(body), 422, "invalid-request", "candidates[0].scores")


@pytest.mark.parametrize(
    "media",
    [
        *(
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "",
            ";",
            "text/plain;a",
        ),
        *("application/json;v=1;charset=latin-1", 'application/json; charset="latin1"', "application/json; charset"),
        *('application/json;v=";";charset=latin-1', "application/json; charset=utf-8; charset=latin-1"),
    ],
)
def test_another_media_type_is_415(any_server: Live, media: str) -> None:
    assert_problem(any_server.post(request(), {"Content-Type": media}), 415, "unsupported-media-type")


def test_a_body_in_an_unknown_content_coding_is_415(any_server: Live) -> None:
    reply = any_server.post(request(), {"Content-Encoding": "br"})
    assert_problem(reply, 415, "unsupported-media-type", text="br")
    assert "json" not in reply.json["title"]


@pytest.mark.parametrize(
    "media",
    [
        *("application/json", "APPLICATION/JSON", 'application/json; charset="UTF-8"', "application/json;charset=utf8"),
        *("application/json; charset=utf-8; v=1", "application/json;charset=UTF-8;", "application/json;;v=1 ; x"),
        *('application/json; v=";charset=latin1"', 'application/json; v="\\";charset=latin1;"', "application/json; v="),
        *('application/json; charset="utf\\-8"', 'application/json; v="open'),
    ],
)
def test_json_by_any_of_its_spellings_is_accepted(any_server: Live, media: str) -> None:
    assert any_server.post(request(), {"Content-Type": media}).status == 200


def test_an_unknown_path_is_404_and_a_wrong_method_405(any_server: Live) -> None:
    assert_problem(any_server.get("/v1/nope"), 404, "not-found")
    assert_problem(any_server.get("/v1/rerank"), 405, "method-not-allowed")
    assert any_server.get("/v1/rerank").headers["allow"] == "OPTIONS, POST"
    assert_problem(any_server.request("POST", "/v1/models"), 405, "method-not-allowed")


def test_bad_input_is_counted_as_invalid(any_server: Live) -> None:
    before = any_server.series("rerank_request_duration_seconds_count", model="none", version="none", outcome="invalid")
    any_server.post(b"{")
    after = any_server.series("rerank_request_duration_seconds_count", model="none", version="none", outcome="invalid")
    assert before is not None
    assert after == before + 1
    assert any_server.records[-1].status == 400
