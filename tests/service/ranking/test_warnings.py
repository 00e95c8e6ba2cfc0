"""What answers say that the model could not use, over HTTP."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from models.contract.spec import Category, FeatureSpec, Number
from service.contract.schemas import MOST_WARNINGS
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.requests import candidate, request
from tests.service.tiny_bundle import Options


def whole(n: int = 6) -> dict[str, Any]:
    """A request of which the tiny model can use everything."""
    sent = request(n)
    for made in sent["candidates"]:
        made["scores"]["relevance"] = 0.5
        made["features"]["category"] = "shoes"
    return sent


def warnings(live: Live, sent: dict[str, Any]) -> list[tuple[str, str]]:
    reply = live.post(sent)
    assert reply.status == 200, reply.body
    return [(w["field"], w["problem"]) for w in reply.json.get("warnings", [])]


def counts(live: Live, field: str) -> list[float | None]:
    name = "rerank_field_values_total"
    return [live.series(name, model="tiny", version="1", field=field, state=s) for s in ("known", "missing", "unknown")]


def test_a_request_without_gaps_has_no_warnings(any_server: Live) -> None:
    assert "warnings" not in any_server.post(whole()).json


def test_a_field_that_all_lack_is_named_and_one_that_some_lack_is_not(server: Live) -> None:
    sent = whole()
    for made in sent["candidates"]:
        del made["features"]["brand"], made["price"]
    for made in sent["candidates"][1:]:
        made["features"]["stars"] = None
    del sent["user"]["age"]
    sent["context"] = {"hour": None}
    assert warnings(server, sent) == [
        ("user.age", "missing"),
        ("context.hour", "missing"),
        ("item.brand", "missing"),
        ("price", "missing"),
    ]


def test_another_case_or_a_blank_is_unknown_and_the_near_match_is_shown(server: Live) -> None:
    sent = whole(3)
    for made, value in zip(sent["candidates"], ["Shoes ", "shoes", "\tHATS"], strict=True):
        made["features"]["category"] = value
    (told,) = server.post(sent).json["warnings"]
    assert (told["field"], told["problem"]) == ("item.category", "unknown-values")
    assert told["detail"].startswith("2 of 3 values are not in the model's vocabulary: ")
    assert "'Shoes ' (it has 'shoes')" in told["detail"]
    assert "'\\tHATS' (it has 'hats')" in told["detail"]


@pytest.mark.parametrize(("unknown", "told"), [(2, []), (3, [("item.category", "unknown-values")])])
def test_half_of_the_values_may_be_unknown(server: Live, unknown: int, told: list[tuple[str, str]]) -> None:
    sent = whole(4)
    for made in sent["candidates"][:unknown]:
        made["features"]["category"] = "boots"
    assert warnings(server, sent) == told


def test_what_is_missing_is_not_among_the_values_of_which_half_may_be_unknown(server: Live) -> None:
    sent = whole(4)
    for made in sent["candidates"][:3]:
        del made["features"]["category"]
    sent["candidates"][3]["features"]["category"] = "boots"
    assert warnings(server, sent) == [("item.category", "unknown-values")]


def test_the_user_and_the_context_are_looked_at_too(server: Live) -> None:
    sent = whole()
    sent["user"] |= {"age": "99", "Visits": 3, "vip": None}
    sent["context"] |= {"device": "tv"}
    assert warnings(server, sent) == [
        ("user.age", "unknown-values"),
        ("user.Visits", "unknown-field"),
        ("context.device", "unknown-field"),
    ]


def test_hashed_values_are_never_unknown(server: Live) -> None:
    sent = whole()
    for i, made in enumerate(sent["candidates"]):
        made["features"]["brand"] = f"never seen {i}"
    assert warnings(server, sent) == []


def test_a_score_is_used_by_the_model_or_by_a_queue_of_the_request(server: Live) -> None:
    sent = whole()
    for made in sent["candidates"]:
        del made["scores"]["relevance"]
        made["scores"] |= {"margin": 0.5, "other": 1.0}
    assert warnings(server, {**sent, "queues": [{"name": "q", "score": "ctr*margin"}]}) == [
        ("scores.relevance", "missing"),
        ("scores.other", "unknown-field"),
    ]
    assert ("scores.margin", "unknown-field") in warnings(server, sent)


def test_only_candidates_that_the_model_looked_at_count() -> None:
    with live_app(fake_model()) as live:
        sent = whole(60)
        for made in sent["candidates"]:
            made["scores"] = {"ctr": 0.5, "cvr": 0.5, "relevance": 0.5}
        for made in sent["candidates"][15:]:  # The tiny model has 15 slots.
            made["scores"] |= {"ctr": 0.1, "cvr": 0.1, "other": 1.0}
            made["features"] = {"new": "x"}
        sent["queues"] = [{"name": "q", "score": "ctr"}]
        sent["partition"] = "dfs"
        assert warnings(live, sent) == []
        seen = counts(live, "item.brand")
        assert seen[1:] == [0, 0]
        assert seen[0] is not None
        assert 0 < seen[0] <= 15


def test_the_setting_leaves_warnings_out_and_the_counters_in() -> None:
    with live_app(fake_model(), warnings=False) as live:
        assert "warnings" not in live.post(request(4)).json
        assert counts(live, "scores.relevance") == [0, 4, 0]


def test_a_list_that_was_degraded_after_encoding_has_them_and_one_before_has_none() -> None:
    engine = FakeEngine(order=[0, 0, -1, -1, -1])
    with live_app(fake_model(engine)) as live:
        answer = live.post(request(4)).json
        assert answer["degraded"]["reason"] == "model-error"
        assert [w["field"] for w in answer["warnings"]] == ["scores.relevance"]
        assert counts(live, "user.age") == [1, 0, 0]


def test_a_list_for_which_nothing_was_encoded_has_no_warnings_and_no_counts() -> None:
    model = fake_model()
    nothing_learnt = replace(model.manifest, shares={"click": 0.0, "conversion": 0.0})
    with live_app(replace(model, manifest=nothing_learnt)) as live:
        assert "warnings" not in live.post(request(4)).json
        assert counts(live, "user.age") == [0, 0, 0]


def test_warnings_are_few_and_short() -> None:
    names = [f"{i:02}-{'x' * 300}" for i in range(40)]
    spec = FeatureSpec(item=(Category("c" * 200, ("y" * 300,)), *(Number(name) for name in names[:5])))
    with live_app(fake_model(options=Options(spec=spec))) as live:
        sent = {
            "candidates": [
                candidate(i, features={"c" * 200: "Y" * 300, **dict.fromkeys(names[5:], 1)}) for i in range(3)
            ]
        }
        told = live.post(sent).json["warnings"]
    assert len(told) == MOST_WARNINGS
    assert all(len(w["field"]) <= 80 and len(w["detail"]) < 1000 for w in told)
    assert "y" * 63 + "…" in told[0]["detail"]


def test_a_body_full_of_names_that_nothing_uses_is_answered_soon(server: Live) -> None:
    sent = whole(15)
    for i, made in enumerate(sent["candidates"]):
        made["features"] |= {f"{i}-{k}": 1 for k in range(2000)}
    started = time.process_time()
    assert len(warnings(server, sent)) == MOST_WARNINGS
    assert time.process_time() - started < 5, "every name was looked for in every candidate"


@pytest.mark.parametrize("number", [7, 7.5])
def test_a_number_for_text_is_refused_and_the_refusal_says_what_to_do(server: Live, number: float) -> None:
    problem = 'must be a string, not a number: put it in quotes, as "7"'
    for field, sent in (
        ("candidates[0].id", {"candidates": [candidate(0, id=number)]}),
        ("request_id", {"request_id": number}),
    ):
        reply = server.post(request(**sent))
        assert (reply.status, reply.json["errors"]) == (422, [{"field": field, "problem": problem}])
