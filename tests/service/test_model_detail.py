"""`GET /v1/models/{name}`: what a model reads, and an example that it answers without warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.contract.manifest import EMBEDDED_BUNDLES
from models.contract.spec import Category, FeatureSpec, Number
from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig
from tests.service.live import Live, fake_model, live_app
from tests.service.tiny_bundle import SPEC, Options


def detail(live: Live, query: str = "") -> Any:
    reply = live.get(f"/v1/models/tiny{query}")
    assert reply.status == 200, reply.body
    return reply.json


def test_it_has_all_that_the_list_of_models_has(any_server: Live) -> None:
    (listed,) = any_server.get("/v1/models").json["models"]
    found = detail(any_server)
    assert {key: found[key] for key in listed} == listed
    assert found["verdict"]["outcome"]
    assert set(found["units"]) == {"click", "conversion", "gmv"}


def test_it_says_whether_the_model_keeps_rules(bundle: Path, ruled_bundle: Path) -> None:
    for folder, rules in ((bundle, None), (ruled_bundle, {"groups": 4})):
        with live_app(load_bundle(folder, SessionConfig())) as live:
            assert detail(live)["rules"] == rules
            assert live.get("/v1/models").json["models"][0]["rules"] == rules


def test_the_example_names_every_field_and_is_answered_without_warnings(any_server: Live) -> None:
    example = detail(any_server)["example"]
    assert set(example["user"]) == {f.name for f in SPEC.user}
    assert set(example["context"]) == {f.name for f in SPEC.context}
    for made in example["candidates"]:
        assert set(made["features"]) == {f.name for f in SPEC.item}
        assert set(made["scores"]) == {f.name for f in SPEC.scores}
        assert None not in made["features"].values()
    answer = any_server.post(example)
    assert answer.status == 200
    assert answer.json["degraded"] is None
    assert "warnings" not in answer.json


def test_the_demo_answers_its_example_without_warnings() -> None:
    with live_app(load_bundle(Path(EMBEDDED_BUNDLES) / "demo" / "1", SessionConfig())) as live:
        found = live.get("/v1/models/demo").json
        assert "warnings" not in live.post(found["example"]).json
        assert found["provenance"]["data"]["file"] == "demo.parquet"
        assert "metadata" not in found["provenance"]["data"], "deep parts are left out"


def test_each_field_says_what_it_takes() -> None:
    spec = FeatureSpec(
        user=(Category("city", tuple(f"c{i}" for i in range(100))),),
        item=(*SPEC.item, Number("rate", mean=-2.0, std=1.0, clip=2.0, default=0.5, transform="logit")),
        scores=SPEC.scores,
    )
    with live_app(fake_model(options=Options(spec=spec))) as live:
        fields = {(f["group"], f["name"]): f for f in detail(live)["fields"]}
    city = fields["user", "city"]
    assert (city["kind"], city["vocabulary_size"], city["vocabulary_sample"]) == (
        "category",
        100,
        [f"c{i}" for i in range(20)],
    )
    assert (fields["item", "brand"]["kind"], fields["item", "brand"]["buckets"]) == ("hashed", 64)
    stars = fields["item", "stars"]["number"]
    assert (stars["default"], stars["transform"], stars["least"], stars["most"]) == (0, "identity", -5, 11)
    rate = fields["item", "rate"]["number"]
    assert rate["least"] == pytest.approx(0.01799, abs=1e-5)
    assert rate["most"] == pytest.approx(0.5)


def test_bounds_of_a_number_that_no_float_can_hold_are_left_out() -> None:
    spec = FeatureSpec(
        item=(Number("a", std=1e6, transform="log1p"), Number("b", std=1e6, transform="logit")), scores=SPEC.scores
    )
    with live_app(fake_model(options=Options(spec=spec))) as live:
        a, b = (f["number"] for f in detail(live)["fields"])
    assert (a["least"], a["most"]) == (0, None)
    assert (b["least"], b["most"]) == (None, 1)


def test_scores_say_who_uses_them_and_whether_they_are_needed() -> None:
    spec = FeatureSpec(scores=(Number("cvr", default=0.1), Number("relevance")))
    with live_app(fake_model(options=Options(spec=spec, fallback="ctr + boost"))) as live:
        found = detail(live)
    scores = {s["name"]: s for s in found["scores"]}
    assert list(scores) == ["cvr", "relevance", "boost", "ctr"]
    assert scores["ctr"] == {
        "name": "ctr",
        "model": False,
        "formulas": ["click", "conversion", "gmv", "fallback"],
        "required": True,
        "number": None,
    }
    assert (scores["cvr"]["model"], scores["cvr"]["required"], scores["cvr"]["number"]["default"]) == (True, True, 0.1)
    assert (scores["relevance"]["formulas"], scores["relevance"]["required"]) == ([], False)
    assert (scores["boost"]["formulas"], scores["boost"]["required"]) == (["fallback"], False)
    assert (found["price"]["model"], found["price"]["required"]) == (False, True), "the spec has no default price"


def test_what_is_said_to_be_required_is_what_is_refused_without() -> None:
    with live_app(fake_model()) as live:
        found = detail(live)
        for score in [*found["scores"], found["price"]]:
            sent = {**found["example"], "candidates": [dict(c) for c in found["example"]["candidates"]]}
            for made in sent["candidates"]:
                made["scores"] = {k: v for k, v in made["scores"].items() if k != score["name"]}
                if score["name"] == "price":
                    del made["price"]
            assert (live.post(sent).status == 422) == score["required"], score["name"]


def test_limits_are_the_models_and_the_services() -> None:
    with live_app(fake_model(), max_candidates=50, max_body_bytes=4096) as live:
        assert detail(live)["limits"] == {
            "list_length": 5,
            "max_queues": 3,
            "max_encoded": 15,
            "max_candidates": 50,
            "max_top_n": 50,
            "max_body_bytes": 4096,
        }


def test_a_live_version_can_be_named_and_others_are_a_404_that_lists_what_is_live() -> None:
    models = [fake_model(options=Options(version=v)) for v in "12"]
    with live_app(*models, keep_versions=2) as live:
        assert detail(live)["version"] == "2"
        assert detail(live, "?version=1")["version"] == "1"
        for path in ("/v1/models/tiny?version=3", "/v1/models/shop", "/v1/models/" + "x" * 3000):
            reply = live.get(path)
            assert (reply.status, reply.json["type"]) == (404, "urn:listwright:problem:not-found")
            assert reply.json["detail"].endswith("live models: tiny 2, tiny 1")
            assert len(reply.body) < 600
        assert "no model 'tiny' in version '' is live" in live.get("/v1/models/tiny?version=").json["detail"]
    with live_app() as live:
        assert live.get("/v1/models/tiny").json["detail"].endswith("live models: none")


def test_it_is_guarded_by_the_keys() -> None:
    with live_app(fake_model(), api_keys="one") as live:
        assert live.get("/v1/models/tiny").status == 401
        assert live.get("/v1/models/tiny", {"Authorization": "Bearer one"}).status == 200
