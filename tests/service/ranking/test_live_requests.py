"""Live values are used in ranking as if the request had said them, and never cost a list."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.catalogue.catalogue import Catalogue
from service.bundles.load import load_bundle
from service.inference.onnx.session import SessionConfig
from service.telemetry.records import STAGES
from tests.models.contract.catalogue.making import Item, write_catalogue
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.redis_server import HOST, PREFIX, RedisServer, free_port, redis_server
from tests.service.requests import candidate, check_list, request
from tests.service.telemetry.process import serving, wait_for
from tests.service.tiny_bundle import SPEC, Options, write_bundle

READS = "rerank_catalogue_live_reads_total"
BY_PRICE = [{"name": "dear", "score": "price"}]
PLENTY = {"catalogue_live_ms": 20_000, "catalogue_live_ttl_seconds": 600}


@pytest.fixture(name="server")
def start_server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def bare(n: int, **changes: Any) -> dict[str, Any]:
    """A request that says no more of its candidates than ids, scores and embeddings."""
    sent = request(n, **changes)
    sent["candidates"] = [{key: c[key] for key in ("id", "scores", "embedding")} for c in sent["candidates"]]
    return sent


def fill(server: RedisServer, n: int) -> None:
    """Put what full requests say of their candidates into Redis."""
    candidates = [candidate(i) for i in range(n)]
    server.put("price", {c["id"]: str(c["price"]) for c in candidates})
    for name in ("category", "brand", "stars"):
        server.put(f"features:{name}", {c["id"]: json.dumps(c["features"][name]) for c in candidates})


@contextlib.contextmanager
def live_service(url: str, *models: Any, **settings: Any) -> Iterator[Live]:
    with live_app(*(models or (fake_model(),)), **{**PLENTY, "catalogue_live": url, **settings}) as live:
        yield live


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_a_bare_request_is_encoded_as_one_that_says_all(server: RedisServer) -> None:
    fill(server, 40)
    engine = FakeEngine()
    with live_service(server.url, fake_model(engine)) as live:
        full, short = live.post(request(40)), live.post(bare(40))
        assert (full.status, short.status) == (200, 200)
        said, known = engine.batches[-2], engine.batches[-1]
        assert ids(full.json) == ids(short.json)
        assert short.json["degraded"] is None
        for name in said:
            np.testing.assert_array_equal(said[name], known[name], err_msg=name)
        assert live.series(READS, result="ok")


def test_a_price_that_changes_changes_the_list(server: RedisServer) -> None:
    server.put("price", {"sku-0": "1", "sku-1": "2", "sku-2": "3"})
    with live_service(server.url, catalogue_live_ttl_seconds=0.2) as live:
        sent = bare(3, queues=BY_PRICE, objectives={"gmv": 1})
        assert ids(live.post(sent).json) == ["sku-2", "sku-1", "sku-0"]
        server.put("price", {"sku-0": "9"})
        deadline = time.monotonic() + WAIT_SECONDS
        while ids(live.post(sent).json) != ["sku-0", "sku-2", "sku-1"]:
            assert time.monotonic() < deadline


def test_what_the_request_says_wins_and_is_not_asked_for(server: RedisServer) -> None:
    server.put("price", {f"sku-{i}": str(i) for i in range(4)})
    with live_service(server.url) as live:
        sent = bare(4, queues=BY_PRICE)
        for place, price in enumerate((9, None, 0, None)):
            sent["candidates"][place]["price"] = price
        assert ids(live.post(sent).json) == ["sku-0", "sku-3", "sku-1", "sku-2"]
        sent = request(4, queues=BY_PRICE)
        for c in sent["candidates"]:
            c["price"] = 5.0
        assert ids(live.post(sent).json) == ["sku-0", "sku-1", "sku-2", "sku-3"]


def test_live_values_stand_between_the_request_and_the_catalogue(server: RedisServer, tmp_path: Path) -> None:
    server.put("price", {"sku-0": "5"})
    model = fake_model()
    folder = tmp_path / "1"
    folder.mkdir()
    items = [Item(f"sku-{i}", price=float(price)) for i, price in enumerate((1, 2, 3))]
    manifest = write_catalogue(folder, model.encoder, items)
    with live_service(server.url, model) as live:
        live.catalogues.swap({SPEC.fingerprint: Catalogue(manifest, folder)})
        sent = bare(3, queues=BY_PRICE)
        assert ids(live.post(sent).json) == ["sku-0", "sku-2", "sku-1"]
        sent["candidates"][0]["price"] = 2.5
        assert ids(live.post(sent).json) == ["sku-2", "sku-0", "sku-1"]


def test_rules_see_live_values_of_fields_that_the_model_does_not_have(server: RedisServer, tmp_path: Path) -> None:
    server.put("features:seller", {f"sku-{i}": json.dumps(f"s{i % 2}") for i in range(12)})
    model = load_bundle(write_bundle(tmp_path / "bundles", Options(groups=4)), SessionConfig())
    with live_service(server.url, model) as live:
        sent = request(12, rules={"caps": [{"by": "seller", "limit": 1}]})
        answer = live.post(sent).json
        assert answer["degraded"] is None
        sellers = [int(name.removeprefix("sku-")) % 2 for name in ids(answer)[:2]]
        assert sorted(sellers) == [0, 1]
        # Tags of the request come first, and with them nothing of that name is asked for.
        before = server.questions()
        for c in sent["candidates"]:
            c["tags"] = {"seller": "one"}
        assert live.post(sent).json["relaxed"] == ["caps[0]"]
        assert server.questions() == before


def test_answers_say_how_long_reading_took_only_where_there_is_a_source(server: RedisServer) -> None:
    with live_app(fake_model()) as without:
        reply = without.post(request())
        assert "live" not in reply.json["timings_ms"]
        assert "live" not in reply.headers["server-timing"]
        assert without.series("rerank_stage_duration_seconds_count", stage="live") == 0
    with live_service(server.url) as live:
        reply = live.post(bare(8))
        assert 0 <= reply.json["timings_ms"]["live"] <= reply.json["timings_ms"]["total"]
        assert set(live.records[-1].stages) == set(STAGES)
        assert live.series("rerank_stage_duration_seconds_count", stage="live") == 1
        assert "live;dur=" in reply.headers["server-timing"]


def test_values_for_another_spec_leave_the_defaults(server: RedisServer) -> None:
    fill(server, 8)
    server.command("SET", PREFIX + "fingerprint", "0" * 64)
    engine = FakeEngine()
    with live_service(server.url, fake_model(engine)) as live:
        assert live.post(bare(8)).json["degraded"] is None
        assert set(engine.batches[-1]["price"][engine.batches[-1]["valid"]]) == {
            SPEC.price.default if SPEC.price else 0
        }
        assert live.series(READS, result="wrong-fingerprint") == 2


def test_garbage_leaves_the_defaults_of_those_items_only(server: RedisServer) -> None:
    fill(server, 8)
    server.put("price", {"sku-0": "NaN", "sku-1": "-1", "sku-2": "[]"})
    server.command("DEL", PREFIX + "features:stars")
    server.command("SET", PREFIX + "features:stars", "5")
    engine = FakeEngine()
    with live_service(server.url, fake_model(engine)) as live:
        sent = bare(8)
        reply = live.post(sent)
        check_list(sent, reply.json)
        assert reply.json["degraded"] is None
        prices = sorted(engine.batches[-1]["price"][engine.batches[-1]["valid"]].tolist())
        assert prices == pytest.approx(sorted([20.0] * 3 + [candidate(i)["price"] for i in range(3, 8)]))
        assert live.series("rerank_catalogue_live_values_total", state="refused") == 3 + 8


def test_a_redis_that_is_slow_or_gone_degrades_nothing(server: RedisServer) -> None:
    with live_service(server.url, catalogue_live_ms=2) as live:
        server.command("CLIENT", "PAUSE", "60000")
        for _ in range(20):
            assert live.post(bare(30)).json["degraded"] is None
        server.stop()
        for _ in range(20):
            assert live.post(bare(30)).json["degraded"] is None
        counted = {r: live.series(READS, result=r) for r in ("ok", "late", "error", "skipped", "cached")}
        assert counted["ok"] == counted["cached"] == 0
        assert sum(count or 0 for count in counted.values()) == 2 * 40
        assert live.series("rerank_degraded_total", reason="wait") == 0
        server.start()
        server.put("price", {"sku-1": "1"})
        deadline = time.monotonic() + WAIT_SECONDS
        while not live.series(READS, result="cached"):
            assert live.post(bare(2)).status == 200
            assert time.monotonic() < deadline


def test_nothing_is_asked_of_a_redis_that_was_never_there() -> None:
    with live_service(f"redis://{HOST}:{free_port()}") as live:
        for _ in range(10):
            assert live.post(bare(8)).json["degraded"] is None
        # Connecting at the start was the first failure.
        assert live.series(READS, result="error") == 2
        assert live.series(READS, result="skipped") == 18


def test_a_sort_without_the_model_reads_prices_only(server: RedisServer) -> None:
    fill(server, 8)
    made = fake_model()
    model = replace(made, manifest=replace(made.manifest, shares={"click": 0, "conversion": 0}))
    with live_service(server.url, model) as live:
        reply = live.post(bare(8))
        assert live.series("rerank_list_choice_total", choice="bypass") == 1
        assert reply.json["items"][0]["source"] == "formula"
        assert server.questions() == 1


def test_reading_ends_before_the_deadline_however_long_it_may_take() -> None:
    with socket.create_server((HOST, 0)) as mute:  # It takes connections and never answers.
        url = f"redis://{HOST}:{mute.getsockname()[1]}"
        with live_service(url, catalogue_live_ms=20_000, budget_ms=100) as live:
            reply = live.post(bare(8))
            assert reply.status == 200
            # It did not wait until the source was given up.
            assert live.series(READS, result="late")
            assert live.series(READS, result="error") == 0


def test_the_shadow_knows_live_values_too(server: RedisServer) -> None:
    fill(server, 12)
    shadow = FakeEngine()
    other = fake_model(shadow, Options(name="next"))
    settings = {"default_model": "tiny", "shadow": "next", "shadow_share": 1.0}
    with live_service(server.url, fake_model(), other, **settings) as live:
        live.post(bare(12))
        deadline = time.monotonic() + WAIT_SECONDS
        while not live.series("rerank_shadow_total", model="next", version="1", outcome="scored"):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        batch = shadow.batches[-1]
        prices = {round(float(price), 2) for price in batch["price"][batch["valid"]]}
        assert prices <= {candidate(i)["price"] for i in range(12)}


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_process_has_a_source_of_its_own_and_closes_it(server: RedisServer, tmp_path: Path, workers: str) -> None:
    server.put("price", {"sku-0": "1", "sku-1": "2", "sku-2": "3"})
    bundles = tmp_path / "bundles"
    write_bundle(bundles)
    flags = ("--workers", workers, "--catalogue-live-ms", "20000", "--budget-ms", "30000")
    environment = {"LISTWRIGHT_CATALOGUE_LIVE": server.url, "PYTHONWARNINGS": "default", "PYTHONASYNCIODEBUG": "0"}
    with serving(bundles, *flags, environment=environment) as service:
        service.wait_until_ready()
        status, body = service.ask("/v1/rerank", bare(3, queues=BY_PRICE))
        assert status == 200, body
        assert ids(json.loads(body))[0] in ("sku-0", "sku-1", "sku-2")
        assert json.loads(body)["timings_ms"]["live"] > 0
        metrics = service.ask("/metrics")[1].decode()
        assert 'rerank_catalogue_live_reads_total{result="ok"} ' in metrics
        wait_for(lambda: server.connections() == int(workers))
        status, lines = service.stop()
    assert status == 0
    text = "\n".join(lines)
    assert text.count("live values of items come from") == int(workers)
    assert not [word for word in ("Warning", "unclosed", "Traceback", "never retrieved") if word in text]
    wait_for(lambda: server.connections() == 0)
