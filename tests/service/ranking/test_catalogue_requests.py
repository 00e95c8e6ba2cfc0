"""Requests of ids and scores, with a live catalogue of items, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.contract.features import Encoder
from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig
from tests.models.contract.catalogue.making import Item
from tests.service.catalogued import ITEMS, catalogued, full, item, known, open_catalogue, thin
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.requests import as_columns, candidate
from tests.service.tiny_bundle import SPEC, Options
from tests.service.transport.test_transport import eventually

COUNTER = "rerank_catalogue_items_total"


@pytest.fixture(scope="module")
def live(any_bundle: Path) -> Iterator[Live]:
    """A server with a catalogue, and a model of any kind."""
    with catalogued(load_bundle(any_bundle, SessionConfig())) as live:
        yield live


@pytest.fixture(scope="module")
def ruled(ruled_bundle: Path) -> Iterator[Live]:
    """The same with a model that keeps rules."""
    with catalogued(load_bundle(ruled_bundle, SessionConfig())) as live:
        yield live


def answer(live: Live, sent: dict[str, Any]) -> dict[str, Any]:
    """What a list is: all of the answer but its id and times."""
    reply = live.post(sent)
    assert reply.status == 200, reply.body
    return {k: v for k, v in reply.json.items() if k not in ("request_id", "timings_ms")}


def counts(live: Live, version: str = "1") -> list[float | None]:
    return [live.series(COUNTER, model="tiny", version=version, state=state) for state in ("known", "unknown")]


@pytest.mark.parametrize("n", [1, 7, 40])
def test_ids_and_scores_are_answered_as_a_request_that_says_everything(live: Live, n: int) -> None:
    sent = known(n)
    whole = answer(live, sent)
    bare = thin(sent)
    assert answer(live, bare) == whole
    assert answer(live, as_columns(bare)) == whole


def test_the_list_depends_on_what_the_catalogue_knows(any_bundle: Path) -> None:
    sent, model = thin(known()), load_bundle(any_bundle, SessionConfig())
    with catalogued(model) as live, live_app(model) as without:
        told, bare = answer(live, sent), answer(without, sent)
    assert told["value"] != bare["value"]
    assert "warnings" not in bare or all(w["problem"] == "missing" for w in bare["warnings"])


@pytest.mark.parametrize(
    "own",
    [
        {"price": 3.5},
        {"features": {"category": "hats"}},
        {"features": {"brand": "another", "stars": 5}},
        {"embedding": [1.0, 0.0, 0.0, 0.5]},
        {"price": None, "features": {"category": None}},
    ],
    ids=str,
)
def test_what_the_request_says_wins_field_by_field_and_null_says_nothing(live: Live, own: dict[str, Any]) -> None:
    sent = known(12)
    bare = thin(sent)
    for place in (0, 3, 5, 8):
        bare["candidates"][place] |= own
        made = sent["candidates"][place]
        features = {k: v for k, v in own.get("features", {}).items() if v is not None}
        others = {k: v for k, v in own.items() if k != "features" and v is not None}
        sent["candidates"][place] = {**made, **others, "features": {**made["features"], **features}}
    assert answer(live, bare) == answer(live, sent)
    assert answer(live, as_columns(bare)) == answer(live, sent)


def test_unknown_ids_are_answered_from_the_request_counted_and_warned_about(live: Live) -> None:
    before = counts(live)
    sent = thin(known(6))
    for i in (1, 4):
        sent["candidates"][i]["id"] = f"new-{i}"
    found = answer(live, sent)
    assert len(found["items"]) == 5
    (warning,) = [w for w in found["warnings"] if w["problem"] == "unknown-item"]
    assert warning["field"] == "candidates.id"
    assert warning["detail"].startswith("2 of the 6 candidates that the model looked at are not in the catalogue")
    assert {name for name in ("'new-1'", "'new-4'") if name in warning["detail"]} == {"'new-1'", "'new-4'"}
    assert [now - (then or 0) for now, then in zip(counts(live), before, strict=True) if now] == [4, 2]


def test_an_unknown_id_with_features_of_its_own_is_no_cause_for_a_warning(live: Live) -> None:
    sent = thin(known(6))
    sent["candidates"][2] = {**candidate(2), "id": "new"}
    assert "unknown-item" not in json.dumps(answer(live, sent))


def test_a_model_without_features_of_items_needs_none_of_an_unknown_id(tmp_path: Path) -> None:
    spec = replace(SPEC, item=())
    with live_app(fake_model(None, Options(spec=spec))) as live:
        live.catalogues.swap({spec.fingerprint: open_catalogue(tmp_path / "7", [Item("a")], encoder=Encoder(spec))})
        example = live.get("/v1/models/tiny").json["example"]
        assert "warnings" not in answer(live, example)
        assert [w["problem"] for w in answer(live, thin(example))["warnings"]] == ["unknown-item", "missing"]


def test_at_most_three_unknown_ids_are_named_and_cut(live: Live) -> None:
    sent = thin(known(8))
    for i, made in enumerate(sent["candidates"]):
        made["id"] = f"{i}-" + "x" * 200
    (warning,) = [w for w in answer(live, sent)["warnings"] if w["problem"] == "unknown-item"]
    assert warning["detail"].endswith(", …")
    assert warning["detail"].count("xx'") == 3
    assert len(warning["detail"]) < 400


def test_nothing_is_counted_or_warned_about_without_a_catalogue() -> None:
    with live_app(fake_model()) as live:
        assert counts(live) == [0, 0]
        assert "unknown-item" not in json.dumps(answer(live, thin(known())))
        assert counts(live) == [0, 0]
        assert live.get("/v1/models").json["models"][0]["catalogue"] is None


def test_values_that_come_from_the_catalogue_are_counted_as_known_or_missing(live: Live) -> None:
    def values(field: str) -> list[float]:
        name, labels = "rerank_field_values_total", {"model": "tiny", "version": "1", "field": field}
        return [live.series(name, **labels, state=s) or 0 for s in ("known", "missing", "unknown")]

    fields = ("item.category", "item.brand", "item.stars", "price")
    found = []
    for sent in (known(10), thin(known(10))):
        before = {field: values(field) for field in fields}
        answer(live, sent)
        found.append({f: [b - a for a, b in zip(before[f], values(f), strict=True)] for f in fields})
    assert found[0] == found[1]
    assert found[0]["price"] == [10, 0, 0]
    assert found[0]["item.category"][2] > 0, "some are not in the vocabulary"


def test_a_feature_that_nothing_uses_is_still_named(live: Live) -> None:
    sent = thin(known(6))
    for made in sent["candidates"]:
        made["features"] = {"colour": "red", "size": "m"}
    fields = {w["field"] for w in answer(live, sent)["warnings"] if w["problem"] == "unknown-field"}
    assert fields == {"item.colour", "item.size"}


def test_rules_may_ask_for_any_field_of_the_catalogue(ruled: Live) -> None:
    sent = known(30, rules={"caps": [{"by": "shop", "limit": 1, "window": 3}], "blocked": ["sku-0"]})
    with_shops = {**sent, "candidates": [full(i) for i in range(30)]}
    for body in (thin(sent), as_columns(thin(sent))):
        found = answer(ruled, body)
        assert found["items"] == answer(ruled, with_shops)["items"]
        shops = [full(item["index"])["features"]["shop"] for item in found["items"]]
        assert all(len(set(shops[i : i + 3])) == 3 for i in range(len(shops) - 2))
        assert "warnings" not in found or all(w["field"] != "rules.caps[0].by" for w in found["warnings"])


def test_a_tag_of_the_request_goes_before_the_catalogue(ruled: Live) -> None:
    sent = thin(known(12, rules={"boosts": [{"where": {"shop": "mine"}, "factor": 500}]}))
    sent["candidates"][9]["tags"] = {"shop": "mine"}
    assert answer(ruled, sent)["items"][0]["id"] == "sku-9"


def test_items_shown_before_are_looked_up_for_caps_and_for_diversity(ruled: Live) -> None:
    shown = ["sku-50", "sku-51", "unheard of", "sku-53"]
    rules = {"caps": [{"by": "shop", "limit": 1, "window": 3}]}
    sent = known(30, rules=rules, shown=shown, diversity={"lambda": 0.5, "window": 4})
    made = [full(int(name[4:])) for name in shown if name.startswith("sku")]
    told = [{k: one[k] for k in ("id", "features", "embedding")} for one in made]
    found = answer(ruled, thin(sent))
    assert found == answer(ruled, {**thin(sent), "shown_items": told})
    assert found["items"] != answer(ruled, {**thin(sent), "shown": ["unheard of"]})["items"]
    assert full(found["items"][0]["index"])["features"]["shop"] != "east", "sku-53's"


def test_the_formulas_list_is_as_diverse_as_one_of_a_request_that_says_everything() -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("broken")
    with catalogued(fake_model(engine)) as live:
        sent = known(30, diversity={"lambda": 0.3, "window": 3}, explain=False)
        whole = answer(live, sent)
        assert whole["degraded"] == {"reason": "model-error", "level": "formula"}
        assert answer(live, thin(sent)) == whole
        assert answer(live, as_columns(thin(sent))) == whole
        plain = answer(live, {**thin(sent), "diversity": {"lambda": 1}})
        assert plain["items"] != whole["items"]


def test_a_request_ends_with_the_catalogue_that_it_began_with() -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("broken")
    with catalogued(fake_model(engine)) as live:
        sent = thin(known(30, explain=False))
        before = answer(live, sent)
        engine.hold.clear()
        runs = len(engine.batches)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(answer, live, sent)
            eventually(lambda: len(engine.batches) > runs)
            live.catalogues.swap({})
            engine.hold.set()
            assert asked.result(WAIT_SECONDS) == before
        assert answer(live, sent)["items"] != before["items"]


@pytest.mark.parametrize("degraded", [False, True])
def test_an_embedding_of_another_width_is_a_named_422(degraded: bool) -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("broken") if degraded else None
    with catalogued(fake_model(engine)) as live:
        sent = thin(known(6))
        sent["candidates"][4]["embedding"] = [1.0, 2.0]
        reply = live.post(sent)
        assert reply.status == 422
        assert [e["field"] for e in reply.json["errors"]] == ["candidates[4].embedding"]
        sent = thin(known(6, shown=["a"], shown_items=[{"id": "a", "embedding": [1.0, 2.0]}]))
        reply = live.post(sent)
        assert [e["field"] for e in reply.json["errors"]] == ["shown_items[0].embedding"]


def test_an_embedding_of_another_width_than_those_shown_before_is_a_named_422(ruled: Live) -> None:
    sent = thin(known(6, shown=["sku-50"], diversity={"lambda": 0.5}))
    for made in sent["candidates"]:
        made["embedding"] = [1.0, 2.0]
    for body, field in ((sent, "candidates[0].embedding"), (as_columns(sent), "candidates.embedding[0]")):
        reply = ruled.post(body)
        assert (reply.status, [e["field"] for e in reply.json["errors"]]) == (422, [field])


def test_updates_and_deletions_count_from_the_newest_segment() -> None:
    base = [item(full(i)) for i in range(ITEMS)]
    newer = [item(full(0), features={"category": "hats"}, price=9.0), item(full(1), deleted=True, features={})]
    with catalogued(fake_model(), batches=[base, newer]) as live:
        sent = thin(known(3))
        found = answer(live, sent)
        assert "'sku-1'" in json.dumps(found["warnings"])
        assert counts(live) == [2, 1]
        status = live.get("/v1/models").json["models"][0]["catalogue"]
        assert (status["version"], status["items"], status["segments"]) == ("7", ITEMS - 1, 2)


def test_status_and_metrics_name_the_catalogue(live: Live) -> None:
    (model,) = live.get("/v1/models").json["models"]
    assert model["catalogue"] == {
        "fingerprint": model["fingerprint"],
        "version": "7",
        "items": ITEMS,
        "embedding_width": 4,
        "segments": 1,
    }
    detail = live.get("/v1/models/tiny").json
    assert detail["needs"] == ["id", "scores.ctr", "scores.cvr", "scores.relevance"]
    assert "warnings" not in live.post(detail["example"]).json
    size = live.series("rerank_catalogue_size", fingerprint=model["fingerprint"][:12], version="7")
    assert size == ITEMS


def test_without_a_catalogue_a_candidate_needs_all_that_the_model_reads(server: Live) -> None:
    needs = server.get("/v1/models/tiny").json["needs"]
    assert {"price", "features.brand", "features.stars", "embedding"} <= set(needs)


def test_requests_of_a_batch_are_answered_with_the_catalogue(live: Live) -> None:
    sent = [known(9), known(12)]
    body = json.dumps({"requests": [*sent, *map(thin, sent)]}).encode()
    reply = live.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json"})
    assert reply.status == 200, reply.body
    found = [outcome["response"] for outcome in reply.json["results"]]
    whole, bare = [one["items"] for one in found[:2]], [one["items"] for one in found[2:]]
    assert bare == whole


def test_the_shadow_reads_the_candidates_with_its_own_catalogue() -> None:
    shadow: dict[str, Any] = {"default_model": "tiny", "shadow": "next", "shadow_share": 1.0}
    engine = FakeEngine()
    with catalogued(fake_model(), fake_model(engine, Options(name="next")), **shadow) as live:
        answer(live, thin(known(20)))
        eventually(lambda: live.series("rerank_shadow_total", model="next", version="1", outcome="scored") == 1)
        (batch,) = engine.batches
        assert batch["embeddings"].shape[-1] == 4
        assert live.series("rerank_shadow_overlap_sum", model="next", version="1", k="5") == 1
