"""The shadow: what it counts, what it leaves alone, and that no client ever notices it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from models.contract import manifest as m
from models.contract.features import Encoder
from models.contract.spec import FeatureSpec, Number
from service.bundles.load import load_bundle
from service.bundles.model import Model
from service.inference.engine import BatchArrays
from service.inference.onnx.session import SessionConfig
from service.ranking import shadow as module
from service.telemetry.records import SHADOW_OUTCOMES
from service.timing.admission import Admission, AdmissionOptions
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.raw import connected
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import SPEC, Arrays, Options, make_manifest, write_bundle
from tests.service.transport.test_transport import eventually

TAU, OVERLAP = "rerank_shadow_kendall_tau", "rerank_shadow_overlap"
REVERSED = np.array([4, 3, 2, 1, 0])


def next_model(engine: FakeEngine | None = None, **options: Any) -> Model:
    return fake_model(engine, Options(name="next", **options))


@contextlib.contextmanager
def shadowed(*models: Model, **settings: Any) -> Iterator[Live]:
    """An app whose default model is `tiny` and whose shadow is `next`, for every request and on any machine."""
    always = {"default_model": "tiny", "shadow": "next", "shadow_share": 1.0}
    with live_app(*models, **{**always, **settings}) as live:
        yield live


def counts(live: Live, model: str = "next", version: str = "1") -> dict[str, float]:
    """What has been counted, by outcome."""
    found = {
        o: live.series("rerank_shadow_total", model=model, version=version, outcome=o) or 0 for o in SHADOW_OUTCOMES
    }
    return {outcome: count for outcome, count in found.items() if count}


def wait_for(live: Live, **expected: float) -> None:
    eventually(lambda: counts(live) == expected)


def bucket(live: Live, name: str, le: str, **labels: str) -> float | None:
    return live.series(f"{name}_bucket", model="next", version="1", le=le, **labels)


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("timings_ms", "request_id")}


@pytest.fixture
def held() -> Iterator[FakeEngine]:
    """An engine that answers nothing before the end of the test, or `hold.set()`."""
    engine = FakeEngine()
    engine.hold.clear()
    yield engine
    engine.hold.set()


def by_price(manifest: m.Manifest) -> m.Manifest:
    """The same model, with queues that want something else."""
    return replace(manifest, queues=tuple(m.QueueSpec(q.name, f"0 - {q.score} - price") for q in manifest.queues))


def test_two_bundles_are_compared_over_the_lists_that_each_would_give(tmp_path: Path) -> None:
    served = load_bundle(write_bundle(tmp_path), SessionConfig())
    other = load_bundle(write_bundle(tmp_path, Options(name="next", change=by_price)), SessionConfig())
    with live_app(served, other, default_model="tiny") as alone:
        sent = request(12)
        plain = alone.post(sent).json
        mine, theirs = ([i["id"] for i in alone.post({**sent, "model": x}).json["items"]] for x in ("tiny", "next"))
        assert counts(alone) == {}
    with shadowed(served, other) as live:
        for n in range(1, 4):
            assert without_times(live.post(sent).json) == without_times(plain)
            wait_for(live, scored=n)
        found = {k: live.series(f"{OVERLAP}_sum", model="next", version="1", k=k) for k in ("1", "3", "5", "10")}
        assert live.series(f"{TAU}_count", model="next", version="1") == 3
        edges = [f"{edge:.1f}" for edge in np.linspace(-1, 1, 11)]
        cumulative = [bucket(live, TAU, "0.0" if edge == "-0.0" else edge) for edge in edges]
    union = sorted({*mine, *theirs})
    ranks = [[x.index(i) if i in x else len(union) for i in union] for x in (mine, theirs)]
    tau = float(kendalltau(*ranks).statistic)
    assert mine != theirs
    assert cumulative == [3 if tau <= float(edge) else 0 for edge in edges]
    shares = {k: len({*mine[: int(k)]} & {*theirs[: int(k)]}) / int(k) for k in ("1", "3", "5")}
    assert found == pytest.approx({k: 3 * share for k, share in shares.items()} | {"10": 0})


def test_reversed_and_equal_lists_fall_into_the_outermost_buckets() -> None:
    with shadowed(fake_model(), next_model(FakeEngine(order=REVERSED))) as live:
        live.post(request(20))
        wait_for(live, scored=1)
        assert bucket(live, TAU, "-1.0") == 1
        assert [bucket(live, OVERLAP, le, k="1") for le in ("0.0", "0.1")] == [1, 1]
        assert [bucket(live, OVERLAP, le, k="3") for le in ("0.3", "0.4")] == [0, 1]
        assert [bucket(live, OVERLAP, le, k="5") for le in ("0.9", "1.0")] == [0, 1]
    with shadowed(fake_model(), next_model()) as live:
        live.post(request(20))
        wait_for(live, scored=1)
        assert [bucket(live, TAU, le) for le in ("0.99", "1.0")] == [0, 1]


def test_only_places_that_the_model_has_filled_are_compared() -> None:
    with shadowed(fake_model(), next_model(FakeEngine(order=REVERSED))) as live:
        assert len(live.post(request(20, top_n=15)).json["items"]) == 15
        wait_for(live, scored=1)
        assert live.series(f"{OVERLAP}_count", model="next", version="1", k="5") == 1
        assert live.series(f"{OVERLAP}_count", model="next", version="1", k="10") == 0
        assert bucket(live, TAU, "-1.0") == 1
        live.post(request(20, top_n=2))
        wait_for(live, scored=2)
        assert live.series(f"{OVERLAP}_count", model="next", version="1", k="1") == 2
        assert live.series(f"{OVERLAP}_count", model="next", version="1", k="3") == 1


def test_every_series_is_there_before_the_first_request() -> None:
    with shadowed(fake_model(), next_model()) as live:
        for outcome in SHADOW_OUTCOMES:
            assert live.series("rerank_shadow_total", model="next", version="1", outcome=outcome) == 0
        assert bucket(live, TAU, "1.0") == 0
        assert all(bucket(live, OVERLAP, "1.0", k=k) == 0 for k in ("1", "3", "5", "10"))


def test_a_shadow_that_stalls_delays_no_answer_and_changes_none(held: FakeEngine) -> None:
    with live_app(fake_model()) as alone:
        plain = without_times(alone.post(request()).json)
    with shadowed(fake_model(), next_model(held), budget_ms=1000) as live:
        assert without_times(live.post(request()).json) == plain
        eventually(lambda: len(held.batches) == 1)
        started = time.monotonic()
        reply = live.post(request(timeout_ms=300))
        assert time.monotonic() - started < WAIT_SECONDS / 2  # Else it would have waited for the shadow.
        check_list(request(), reply.json)
        assert reply.json["degraded"]["reason"] in ("deadline", "wait")
        wait_for(live, dropped=1)  # It has had as long as a request would have; the degraded list was no candidate.
        held.hold.set()
        eventually(lambda: without_times(live.post(request()).json) == plain)


def test_it_goes_first_when_anything_else_is_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    made: list[Admission] = []

    def make(options: AdmissionOptions) -> Admission:
        made.append(Admission(options))
        return made[-1]

    monkeypatch.setattr("service.app_parts.Admission", make)
    with shadowed(fake_model(), next_model(engine)) as live:
        made[0].enter()  # One more request is in progress, and does nothing.
        for n in range(1, 4):
            assert live.post(request()).json["degraded"] is None
            wait_for(live, dropped=n)
        assert engine.batches == []
        made[0].leave()
        assert live.post(request()).status == 200
        wait_for(live, dropped=3, scored=1)


def test_one_at_a_time(held: FakeEngine) -> None:
    with shadowed(fake_model(FakeEngine()), next_model(held)) as live, connected(live.port) as client:
        live.post(request())
        eventually(lambda: len(held.batches) == 1)
        client.ask(request())
        eventually(lambda: live.series("rerank_queue_depth") == 1)
        held.hold.set()
        assert client.answer().json["degraded"] is None
        eventually(lambda: sum(counts(live).values()) == 2)
        assert counts(live)["scored"] >= 1
        assert len(held.batches) == counts(live)["scored"]


class Slow(FakeEngine):
    """An engine that takes longer than the budget of its test."""

    def run(self, batch: BatchArrays) -> Arrays:
        time.sleep(0.4)
        return super().run(batch)


def test_a_model_that_takes_too_long_for_the_budget_is_not_run_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    with shadowed(fake_model(), next_model(slow), budget_ms=50, deadline_mode="observe") as live:
        for n in range(1, 4):
            live.post(request())
            wait_for(live, dropped=n)
        assert len(slow.batches) == 1
        monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
        live.post(request())
        eventually(lambda: len(slow.batches) == 2)


def test_a_shadow_that_is_not_live_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "service.ranking.shadow"), shadowed(fake_model(), shadow="next@2") as live:
        for n in range(1, 4):
            assert live.post(request()).status == 200
            eventually(lambda n=n: counts(live, version="2") == {"unknown": n})  # type: ignore[misc]
        assert [r.getMessage() for r in caplog.records] == [
            "the shadow next@2 is not live (LISTWRIGHT_SHADOW), so nothing is compared"
        ]
        live.registry.publish(next_model(version="2"))
        live.post(request())
        eventually(lambda: counts(live, version="2") == {"unknown": 3, "scored": 1})


def test_without_a_version_it_is_the_one_that_went_live_last() -> None:
    with shadowed(fake_model()) as live:
        live.post(request())
        eventually(lambda: counts(live, version="none") == {"unknown": 1})
        for version in ("1", "2"):
            live.registry.publish(next_model(version=version))
            live.post(request())
            eventually(lambda version=version: counts(live, version=version) == {"scored": 1})  # type: ignore[misc]


def test_with_a_version_it_is_that_one() -> None:
    models = [next_model(version=version) for version in ("1", "2")]
    with shadowed(fake_model(), *models, shadow="next@1", keep_versions=2) as live:
        live.post(request())
        wait_for(live, scored=1)
        assert counts(live, version="2") == {}


def test_there_is_nothing_to_compare_where_the_shadow_itself_has_answered() -> None:
    with shadowed(fake_model(), next_model(), next_model(version="2"), keep_versions=2) as live:
        live.post(request(model="next"))
        eventually(lambda: counts(live, version="2") == {"skipped": 1})
        live.post(request(model="next", version="1"))
        eventually(lambda: counts(live, version="2") == {"skipped": 1, "scored": 1})


def test_a_request_that_is_none_for_the_shadow_is_counted_as_such() -> None:
    def other_score(manifest: m.Manifest) -> m.Manifest:
        return replace(manifest, queues=(m.QueueSpec("margin", "margin"), *manifest.queues[1:]))

    manifest = other_score(make_manifest(Options(name="next")))
    engine = FakeEngine()
    with shadowed(fake_model(), Model(manifest, Encoder(manifest.spec), engine)) as live:
        assert live.post(request()).json["degraded"] is None
        wait_for(live, unfit=1)
        assert engine.batches == []
        sent = request()
        for i, candidate in enumerate(sent["candidates"]):
            candidate["scores"]["margin"] = i
        live.post(sent)
        wait_for(live, unfit=1, scored=1)


def test_a_list_under_rules_is_compared_with_a_shadow_that_keeps_them(ruled_bundle: Path) -> None:
    ruled = load_bundle(ruled_bundle, SessionConfig())
    pins = [{"id": "sku-3", "position": 1}, {"id": "sku-2", "position": 9}]
    with shadowed(ruled, replace(ruled, manifest=replace(ruled.manifest, name="next"))) as live:
        sent = request(12, top_n=10, rules={"pinned": pins, "blocked": ["sku-5"]}, shown=["sku-6"])
        assert live.post(sent).status == 200
        wait_for(live, scored=1)
        assert [bucket(live, TAU, le) for le in ("0.99", "1.0")] == [0, 1]
    with shadowed(ruled, next_model()) as live:
        assert live.post(sent).status == 200
        wait_for(live, unfit=1)


def test_the_shadow_sees_the_request_through_its_own_features() -> None:
    spec = FeatureSpec(
        user=(Number("visits", mean=1.0), Number("age_years", default=40.0)), item=(), scores=SPEC.scores
    )
    engine, other = FakeEngine(), FakeEngine()
    with shadowed(fake_model(engine), next_model(other, spec=spec)) as live:
        live.post(request())
        wait_for(live, scored=1)
    expected = Encoder(spec).encode_user({"visits": 3}, {})["user_numbers"]
    np.testing.assert_array_equal(other.batches[0]["user_numbers"], expected[None])
    assert engine.batches[0]["user_numbers"].tolist() != other.batches[0]["user_numbers"].tolist()


def test_a_shadow_that_fails_is_counted_and_not_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    engine.error = RuntimeError("no such kernel")
    with caplog.at_level(logging.ERROR), shadowed(fake_model(), next_model(engine)) as live:
        for n in range(1, 4):
            assert live.post(request()).json["degraded"] is None
            wait_for(live, failed=n)
        engine.error = None
        live.post(request())
        wait_for(live, failed=3, scored=1)
    (logged,) = caplog.records
    assert logged.getMessage() == "shadow model next 1 failed on a request"
    assert "no such kernel" in caplog.text


def test_an_impossible_order_of_the_shadow_is_a_failure_of_the_shadow() -> None:
    with shadowed(fake_model(), next_model(FakeEngine(order=np.array([0, 0, 1, 2, 3])))) as live:
        check_list(request(), live.post(request()).json)
        wait_for(live, failed=1)


def test_lists_that_no_model_made_are_not_compared() -> None:
    engine, other = FakeEngine(), FakeEngine()
    engine.error = RuntimeError("broken")
    with shadowed(fake_model(engine), next_model(other)) as live:
        assert live.post(request()).json["degraded"]["reason"] == "model-error"
        assert live.post(request(top_n=0)).status == 422
        engine.error = None
        live.post(request())
        wait_for(live, scored=1)
        assert len(other.batches) == 1


def test_a_share_of_none_and_no_shadow_at_all_cost_nothing() -> None:
    for settings in ({"shadow_share": 0.0}, {"shadow": None}):
        engine = FakeEngine()
        with shadowed(fake_model(), next_model(engine), **settings) as live:
            for _ in range(20):
                live.post(request())
            time.sleep(0.05)
            assert counts(live) == {}
            assert engine.batches == []


def test_draining_does_not_wait_for_it(held: FakeEngine) -> None:
    with shadowed(fake_model(), next_model(held), drain_seconds=30, drain_quiet_seconds=0) as live:
        live.post(request())
        eventually(lambda: len(held.batches) == 1)
        live.stop()
        eventually(live.ended)
        assert not held.hold.is_set()
        held.hold.set()
