"""What `POST /v1/rerank` answers, over a real socket and a real ONNX graph that is simple enough to predict."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.bundles.model import Model
from service.contract.examples import EXAMPLE_REQUEST
from tests.service.live import FakeEngine, Live, Reply, fake_model, live_app
from tests.service.requests import candidate, check_list, request
from tests.service.tiny_bundle import CLICKS, PURCHASES, Options


@pytest.fixture
def plain() -> Iterator[Live]:
    """A server whose queues must be given: its one default queue and its fallback need only `ctr`."""
    with live_app(fake_model(options=Options(fallback="ctr"))) as live:
        yield live


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_the_answer_has_the_fields_of_the_contract(any_server: Live) -> None:
    sent = request(request_id="r-1")
    for made in sent["candidates"]:
        made["scores"]["relevance"] = 0.5
    answer = any_server.post(sent).json
    assert set(answer) == {"request_id", "model", "version", "items", "value", "degraded", "timings_ms"}
    assert (answer["request_id"], answer["model"], answer["version"]) == ("r-1", "tiny", "1")
    assert set(answer["items"][0]) == {"id", "index", "position", "source"}
    assert set(answer["value"]) == {"click", "conversion", "gmv"}
    assert answer["degraded"] is None
    timings = answer["timings_ms"]
    assert set(timings) == {"decode", "deal", "encode", "wait", "infer", "total"}
    assert timings["total"] >= sum(v for k, v in timings.items() if k != "total") - 0.01


def test_only_candidates_with_id_and_scores_are_required(any_server: Live) -> None:
    sent = {"candidates": [{"id": str(i), "scores": {"ctr": 0.1, "cvr": 0.1}} for i in range(3)]}
    check_list(sent, any_server.post(sent).json)


def test_the_documented_example_is_answered(any_server: Live) -> None:
    check_list(EXAMPLE_REQUEST, any_server.post(EXAMPLE_REQUEST).json)


def test_top_n_is_the_list_length_unless_given(any_server: Live) -> None:
    assert len(any_server.post(request(20)).json["items"]) == 5
    assert len(any_server.post(request(20, top_n=7)).json["items"]) == 7
    assert len(any_server.post(request(3, top_n=7)).json["items"]) == 3


def test_queues_are_filled_by_their_formulas_in_priority_order(server: Live) -> None:
    sent = request(12, queues=[{"name": "dear", "score": "price"}, {"name": "likely", "score": "ctr"}], explain=True)
    answer = server.post(sent).json
    by_price = sorted(sent["candidates"], key=lambda c: -c["price"])
    by_ctr = sorted(sent["candidates"], key=lambda c: -c["scores"]["ctr"])
    assert ids(answer)[0] == by_price[0]["id"]
    assert ids(answer)[1] == next(c["id"] for c in by_ctr if c["id"] != by_price[0]["id"])
    assert [item["explanation"]["queue"] for item in answer["items"]] == ["dear", "likely", "dear", "likely", "dear"]


def test_dfs_fills_the_first_queue_before_the_second(server: Live) -> None:
    sent = request(12, partition="dfs", queues=[{"name": "dear", "score": "price"}, {"name": "x", "score": "price"}])
    by_price = sorted(sent["candidates"], key=lambda c: -c["price"])
    # The graph takes rank by rank, so places alternate between the five dearest and the next five.
    expected = [by_price[i]["id"] for i in (0, 5, 1, 6, 2)]
    assert ids(server.post(sent).json) == expected


def test_weights_can_be_named_in_formulas(server: Live) -> None:
    one = [{"name": "q", "score": "alpha*ctr + gamma*price"}]
    by_ctr = server.post(request(12, queues=one, objectives={"click": 1, "conversion": 0, "gmv": 0})).json
    by_price = server.post(request(12, queues=one, objectives={"click": 0, "conversion": 0, "gmv": 1})).json
    candidates = request(12)["candidates"]
    assert ids(by_ctr)[0] == max(candidates, key=lambda c: c["scores"]["ctr"])["id"]
    assert ids(by_price)[0] == max(candidates, key=lambda c: c["price"])["id"]


def test_what_the_model_does_not_reach_is_ordered_by_the_formula_and_says_so() -> None:
    with live_app(fake_model(options=Options(fallback="price"))) as live:
        sent = request(30, queues=[{"name": "click", "score": "ctr"}], top_n=12)
        answer = live.post(sent).json
        check_list(sent, answer)
        assert [item["source"] for item in answer["items"]] == ["model"] * 5 + ["formula"] * 7
        rest = [item["index"] for item in answer["items"][5:]]
        left = set(range(30)) - {item["index"] for item in answer["items"][:5]}
        assert rest == sorted(left, key=lambda i: -sent["candidates"][i]["price"])[:7]
        assert live.series("rerank_list_items_total", source="formula") == 7


def test_where_the_formula_cannot_be_computed_the_rest_keeps_the_order_of_the_request() -> None:
    with live_app(fake_model(options=Options(fallback="margin"))) as live:
        sent = request(12, queues=[{"name": "click", "score": "ctr"}], top_n=12)
        answer = live.post(sent).json
        check_list(sent, answer)
        assert [item["source"] for item in answer["items"]] == ["model"] * 5 + ["input"] * 7
        assert [item["index"] for item in answer["items"][5:]] == sorted(
            set(range(12)) - {item["index"] for item in answer["items"][:5]}
        )


def test_the_value_is_the_sum_over_what_the_model_chose(server: Live) -> None:
    sent = request(12, top_n=3)
    answer = server.post(sent).json
    prices = [sent["candidates"][item["index"]]["price"] for item in answer["items"]]
    assert answer["value"]["click"] == pytest.approx(3 * CLICKS)
    assert answer["value"]["conversion"] == pytest.approx(3 * PURCHASES)
    assert answer["value"]["gmv"] == pytest.approx(PURCHASES * sum(prices), rel=1e-5)


def test_an_explanation_adds_up(server: Live, tiny_model: Model) -> None:
    trade_off = 0.7
    sent = request(
        12, explain=True, objectives={"click": 2, "conversion": 3, "gmv": 5}, diversity={"lambda": trade_off}
    )
    items = server.post(sent).json["items"]
    units = tiny_model.manifest.units
    for place, item in enumerate(items):
        why = item["explanation"]
        assert why["parts"]["click"] == pytest.approx(2 * CLICKS / units["click"] / 10, rel=1e-5)
        assert why["score"] == pytest.approx(trade_off * sum(why["parts"].values()) - why["penalty"], rel=1e-4)
        assert why["penalty"] == pytest.approx((1 - trade_off) / 2 if place else 0.0, rel=1e-5)
        follower = items[place + 1]["id"] if place + 1 < len(items) else None
        assert why["runner_up"] == follower


def test_unknown_categories_and_fields_and_missing_features_are_accepted(any_server: Live) -> None:
    sent = request(user={"age": "never seen", "shoe size": 44}, context={})
    sent["candidates"][0] = candidate(0, features={"category": "none such", "new": True})
    sent["candidates"][1].pop("features")
    check_list(sent, any_server.post(sent).json)


def test_a_missing_price_and_score_take_the_defaults_of_the_spec(plain: Live) -> None:
    engine = plain.registry.models[0].engine
    assert isinstance(engine, FakeEngine)
    sent = request(4, queues=[{"name": "click", "score": "ctr"}])
    sent["candidates"][1] = {"id": "bare", "scores": {}}
    assert plain.post(sent).status == 200
    batch = engine.batches[-1]
    prices = [c.get("price", 20.0) for c in sorted(sent["candidates"], key=lambda c: -c["scores"].get("ctr", 0.05))]
    assert batch["price"][0, :4].tolist() == pytest.approx(prices)


def test_extreme_but_finite_numbers_get_a_list(any_server: Live) -> None:
    sent = request(user={"visits": 1e308}, context={"hour": -1e308}, diversity={"lambda": 0, "window": 1000})
    sent["candidates"][2] = candidate(
        2, price=1e12, features={"stars": -1e308}, embedding=[1e308, -1e308, 5e-324, 0.0], scores={"ctr": 0, "cvr": 1}
    )
    check_list(sent, any_server.post(sent).json)


def test_a_request_of_one_candidate_is_a_list_of_one(any_server: Live) -> None:
    check_list(request(1), any_server.post(request(1)).json)


def test_the_graph_gets_the_weights_and_diversity_of_the_request(plain: Live) -> None:
    engine = plain.registry.models[0].engine
    assert isinstance(engine, FakeEngine)
    plain.post(request(objectives={"gmv": 7}, diversity={"window": 2}))
    batch = engine.batches[-1]
    assert batch["objective_weights"].tolist() == [[5, 1, 7]]
    assert batch["trade_off"].tolist() == pytest.approx([0.8])
    assert batch["window"].tolist() == [2]
    assert set(batch) == plain.registry.models[0].inputs


def test_request_id_and_trace_come_back(any_server: Live) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = any_server.post(request(), {"x-request-id": "from-header", "traceparent": trace})
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "from-header"
    assert re.fullmatch(r"00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01", reply.headers["traceparent"])
    assert reply.headers["traceparent"] != trace
    assert any_server.records[-1].trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert any_server.post(request(request_id="from-body"), {"x-request-id": "x"}).json["request_id"] == "from-body"
    assert len(any_server.post(request()).json["request_id"]) == 16


@pytest.mark.parametrize("request_id", ["naïve", "line\nbreak", "emoji 🛒"])
def test_a_request_id_that_no_header_may_hold_comes_back_in_the_body_only(any_server: Live, request_id: str) -> None:
    reply = any_server.post(request(request_id=request_id))
    assert reply.json["request_id"] == request_id
    assert "x-request-id" not in reply.headers


def test_server_timing_names_every_stage(any_server: Live) -> None:
    header = any_server.post(request()).headers["server-timing"]
    names = [part.split(";")[0].strip() for part in header.split(",")]
    assert names == ["lag", "decode", "deal", "encode", "wait", "infer", "total"]
    assert all(re.fullmatch(r"\s*\w+;dur=\d+\.\d{3}", part) for part in header.split(","))


def test_a_request_that_fails_on_its_way_is_recorded_with_all_that_was_known() -> None:
    unknown, wrong = request(model="absent"), request()
    wrong["candidates"][3]["features"]["stars"] = "five"
    with live_app(fake_model()) as live:
        assert [live.post(sent).status for sent in (b"{", unknown, wrong)] == [400, 422, 422]
        known = [(r.model, r.candidates > 0, list(r.stages), r.choice, r.batch_size) for r in live.records]
    assert known == [
        ("none", False, ["lag"], None, 0),
        ("none", True, ["lag", "decode"], None, 0),
        ("tiny", True, ["lag", "decode", "deal"], None, 0),
    ]


def test_a_request_may_name_its_model_and_must_where_there_is_no_default() -> None:
    first, second = fake_model(), fake_model(options=Options(name="other", version="7"))
    with live_app(first, second, default_model="none") as live:
        assert live.post(request(model="other")).json["version"] == "7"
        assert live.post(request(model="tiny")).json["model"] == "tiny"
        assert live.post(request()).json["errors"][0]["field"] == "model"
    with live_app(first, second, default_model="other") as live:
        assert live.post(request()).json["model"] == "other"


def test_a_failing_engine_leaves_the_list_to_the_formula_and_the_next_request_is_answered() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live:
        engine.error = RuntimeError("out of memory at 0xdeadbeef")
        check_degraded(live.post(request(request_id="r-9")), "model-error")
        engine.error = None
        assert live.post(request()).json["degraded"] is None
        assert live.series("rerank_degraded_total", reason="model-error") == 1
        assert live.series("rerank_request_duration_seconds_count", model="tiny", version="1", outcome="degraded") == 1


def check_degraded(reply: Reply, reason: str) -> None:
    """A valid list by the formula that says why it is not the model's."""
    assert reply.status == 200
    check_list(request(), reply.json)
    assert {item["source"] for item in reply.json["items"]} == {"formula"}
    assert reply.json["degraded"] == {"reason": reason, "level": "formula"}
    assert reply.headers["x-listwright-degraded"] == f"{reason}; level=formula"
    assert reply.json["value"] == {"click": 0, "conversion": 0, "gmv": 0}
    assert b"deadbeef" not in reply.body


@pytest.mark.parametrize("order", [[0, 0, 1, 2, 3], [99, 0, 1, 2, 3], [14, 0, 1, 2, 3], [0, -1, 1, 2, -1]])
def test_an_impossible_order_from_the_graph_never_reaches_the_client(order: list[int]) -> None:
    with live_app(fake_model(FakeEngine(order=order))) as live:
        check_degraded(live.post(request()), "model-error")


def test_a_value_that_is_not_finite_never_reaches_the_client() -> None:
    with live_app(fake_model(FakeEngine(value=[[float("nan")] * 3] * 5))) as live:
        check_degraded(live.post(request()), "model-error")


def test_requests_at_the_same_time_get_their_own_lists(any_server: Live) -> None:
    def ask(i: int) -> None:
        sent = request(5 + i % 7, request_id=f"r-{i}", top_n=1 + i % 12)
        for place, one in enumerate(sent["candidates"]):
            one["id"] = f"{i}-{place}"
        answer = any_server.post(sent).json
        assert answer["request_id"] == f"r-{i}"
        check_list(sent, answer)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(80)))


def test_a_model_that_chooses_nothing_leaves_the_list_to_the_formula() -> None:
    with live_app(fake_model(FakeEngine(order=[-1] * 5))) as live:
        sent = request(6)
        answer = live.post(sent).json
        check_list(sent, answer)
        assert {item["source"] for item in answer["items"]} == {"formula"}
        assert answer["value"] == {"click": 0, "conversion": 0, "gmv": 0}
