"""In a request, null means missing wherever a value may be missing: the answer is that without it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from service.contract.candidates import candidate_table
from service.contract.decoding import decode_request
from service.contract.schemas import Candidate, RerankRequest
from tests.service.contract.test_bad_input import assert_problem, with_candidate
from tests.service.live import Live
from tests.service.requests import request

OPTIONAL = [
    *("request_id", "model", "version", "user", "context", "top_n", "objectives", "diversity", "queues"),
    *("partition", "timeout_ms", "explain", "scene", "rules", "shown", "shown_items"),
]
RULES = {
    "pinned": [{"id": "sku-5", "position": 2}],
    "blocked": ["sku-1"],
    "caps": [{"by": "brand", "limit": 1}],
    "floors": [{"by": "brand", "value": "b3", "least": 1, "within": 1}],
    "boosts": [{"where": {"brand": "b4"}, "factor": 5}],
}


def listed(server: Live, sent: dict[str, Any]) -> Any:
    reply = server.post(sent)
    assert reply.status == 200, reply.body
    return {key: reply.json[key] for key in ("items", "value", "degraded")}


@pytest.mark.parametrize("field", OPTIONAL)
def test_null_in_a_request_is_as_if_missing(server: Live, field: str) -> None:
    without = {key: value for key, value in request().items() if key != field}
    assert listed(server, {**without, field: None}) == listed(server, without)


@pytest.mark.parametrize("field", list(RULES))
def test_null_among_rules_is_as_if_missing(ruled_server: Live, field: str) -> None:
    without = {name: rules for name, rules in RULES.items() if name != field}
    assert listed(ruled_server, request(rules={**without, field: None})) == listed(ruled_server, request(rules=without))


def test_null_in_a_cap_or_a_shown_item_is_as_if_missing(ruled_server: Live) -> None:
    cap = {"by": "brand", "limit": 1}
    null = request(
        rules={"caps": [{**cap, "window": None}]},
        shown=["old-1"],
        shown_items=[{"id": "old-1", "tags": None, "features": {"brand": None}, "embedding": None}],
    )
    without = request(rules={"caps": [cap]}, shown=["old-1"], shown_items=[{"id": "old-1"}])
    assert listed(ruled_server, null) == listed(ruled_server, without)


@pytest.mark.parametrize("field", ["price", "features", "embedding", "tags"])
def test_null_in_a_candidate_is_as_if_missing(server: Live, field: str) -> None:
    null, without = with_candidate(**{field: None}), with_candidate()
    without["candidates"][3].pop(field, None)
    assert listed(server, null) == listed(server, without)


@pytest.mark.parametrize(
    ("group", "field"),
    [("objectives", name) for name in ("click", "conversion", "gmv")]
    + [("diversity", name) for name in ("lambda", "window")]
    + [("user", "age"), ("context", "hour")],
)
def test_null_in_an_object_is_as_if_missing(server: Live, group: str, field: str) -> None:
    without = request()
    without[group] = {"user": {"visits": 3}, "objectives": {"click": 2} if field != "click" else {}}.get(group, {})
    null = deepcopy(without)
    null[group][field] = None
    assert listed(server, null) == listed(server, without)


@pytest.mark.parametrize(("group", "field"), [("scores", "cvr"), ("features", "brand"), ("features", "stars")])
def test_null_among_a_candidates_values_is_as_if_missing(any_server: Live, group: str, field: str) -> None:
    null, without = request(), request()
    null["candidates"][3][group][field] = None
    del without["candidates"][3][group][field]
    assert listed(any_server, null) == listed(any_server, without)


def test_a_score_that_is_null_everywhere_is_not_said_to_be_there(server: Live) -> None:
    sent = request(3, queues=[{"name": "own", "score": "margin"}])
    for one in sent["candidates"]:
        one["scores"] = {"ctr": 0.1, "margin": None}
    reply = server.post(sent)
    assert_problem(reply, 422, "invalid-request", "queues[0].score", "no candidate has the score 'margin'")
    assert reply.json["detail"].endswith("the scores in the request are: ctr")


def test_what_is_required_may_not_be_null_and_the_answer_says_so(server: Live) -> None:
    for field, sent in {
        "candidates": {"candidates": None},
        "candidates[3].id": with_candidate(id=None),
        "candidates[3].scores": with_candidate(scores=None),
        "queues[0].name": request(queues=[{"name": None, "score": "ctr"}]),
        "rules.pinned[0].position": request(rules={"pinned": [{"id": "sku-1", "position": None}]}),
        "rules.caps[0].limit": request(rules={"caps": [{"by": "brand", "limit": None}]}),
        "rules.boosts[0].where": request(rules={"boosts": [{"where": None, "factor": 1}]}),
        "shown_items[0].id": request(shown_items=[{"id": None}]),
    }.items():
        assert_problem(server.post(sent), 422, "invalid-request", field, "null, which means missing; it is required")


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("candidates[3].id", with_candidate(id=3)),
        ("request_id", request(request_id=7)),
        ("version", request(version=1)),
    ],
)
def test_a_number_for_a_text_is_refused_with_what_to_send(server: Live, field: str, sent: dict[str, Any]) -> None:
    assert_problem(server.post(sent), 422, "invalid-request", field, 'put it in quotes, as "7"')


def test_what_is_decoded_is_read_as_if_null_were_missing() -> None:
    request = decode_request(
        b'{"candidates":[{"id":"a","scores":{},"features":null,"tags":null}],"user":null,"context":null,'
        b'"shown_items":[{"id":"b","tags":null,"features":null}]}'
    )
    assert (request.user, request.context) == ({}, {})
    assert [(item.tags, item.features) for item in request.shown_items or ()] == [({}, {})]
    table = candidate_table(request)
    assert (table.values("x", np.array([0])), table.tags("x")) == ([None], [None])
    made = RerankRequest(candidates=[Candidate(id="a", scores={}, features={"x": 1})], user={"y": None})
    assert (candidate_table(made).values("x", np.array([0])), made.user) == ([1], {"y": None})
