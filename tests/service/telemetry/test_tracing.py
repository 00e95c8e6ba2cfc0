"""Traces as a collector has them: real OTLP over a real socket, from a service that answers real requests."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from service.bundles.model import Model
from service.telemetry.records import STAGES, Lap, RequestStage
from service.telemetry.spans import SPAN_RESULTS, SpanStopwatch
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.otlp import Collector, Span, collecting, spans_total
from tests.service.requests import check_list, request
from tests.service.tiny_bundle import Options
from tests.service.transport.test_transport import eventually

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
SERVER, INTERNAL = 2, 1
ROOT = "POST /v1/rerank"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def empty(collector: Collector) -> Collector:
    """The collector, without what came before."""
    collector.spans.clear()
    return collector


@pytest.fixture(scope="module")
def traced(tiny_model: Model, collector: Collector) -> Iterator[Live]:
    """A service that begins no traces of its own."""
    with live_app(tiny_model, otlp_endpoint=collector.url, trace_share=0) as live:
        yield live


def trace_of(found: Sequence[Span]) -> tuple[Span, list[Span]]:
    """The span of the request, and those of its stages, of a trace with one request."""
    (root,) = [span for span in found if span.kind == SERVER]
    return root, [span for span in found if span is not root]


def test_a_request_is_a_span_under_that_of_its_caller_with_the_id_that_the_answer_has(
    traced: Live, empty: Collector
) -> None:
    reply = traced.post(request(20, request_id="r-9"), SAMPLED)
    root, stages = trace_of(empty.trace(TRACE, 7))
    assert reply.headers["traceparent"] == f"00-{TRACE}-{root.span_id}-01"
    assert (root.name, root.parent_id, root.kind, root.error) == (ROOT, PARENT, SERVER, False)
    assert empty.paths == {"/v1/traces"}
    assert {span.parent_id for span in stages} == {root.span_id}
    assert len({span.span_id for span in [root, *stages]}) == len(stages) + 1
    expected = {
        "http.request.method": "POST",
        "http.route": "/v1/rerank",
        "http.response.status_code": 200,
        "url.path": "/v1/rerank",
        "url.scheme": "http",
        "listwright.request_id": "r-9",
        "listwright.outcome": "ok",
        "listwright.choice": "plan",
        "listwright.model": "tiny",
        "listwright.version": "1",
        "listwright.scene": "none",
        "listwright.key": "none",
        "listwright.candidates": 20,
        "listwright.batch_size": 1,
    }
    assert root.attributes == expected


def test_nothing_that_a_request_says_of_its_user_and_items_is_in_its_spans(traced: Live, empty: Collector) -> None:
    sent = request(5, user={"age": "25-34", "visits": 918273}, context={"hour": 21})
    traced.post(sent, SAMPLED)
    text = repr(empty.trace(TRACE, 7))
    assert not [word for word in ("25-34", "918273", "hour", "sku-", "shoes") if word in text]


def test_the_spans_of_the_stages_follow_each_other_and_add_up_to_the_request(traced: Live, empty: Collector) -> None:
    reply = traced.post(request(20), SAMPLED)
    root, stages = trace_of(empty.trace(TRACE, 8))
    assert [span.name for span in stages] == ["lag", "decode", "deal", "encode", "wait", "infer", "respond"]
    assert all(before.end <= after.start for before, after in itertools.pairwise(stages))
    assert stages[0].start == root.start
    assert stages[-1].end <= root.end
    # What lies between them is the handing over to the inference thread and back.
    spent = sum(span.seconds for span in stages)
    assert spent <= root.seconds
    timed = reply.json["timings_ms"]
    for name in ("deal", "encode", "wait", "infer"):
        (span,) = [span for span in stages if span.name == name]
        assert span.seconds * 1e3 == pytest.approx(timed[name], abs=0.002)
    lag, decode = stages[:2]
    assert (lag.seconds + decode.seconds) * 1e3 == pytest.approx(timed["decode"], abs=0.002)


def test_the_times_are_those_of_the_clock_on_the_wall(traced: Live, empty: Collector) -> None:
    before = time.time_ns()
    traced.post(request(), SAMPLED)
    root, _ = trace_of(empty.trace(TRACE, 7))
    assert before - 50_000_000 <= root.start <= root.end <= time.time_ns() + 50_000_000


def test_a_trace_that_its_caller_does_not_sample_sends_nothing(traced: Live, empty: Collector) -> None:
    before = spans_total(traced)
    reply = traced.post(request(), UNSAMPLED)
    assert reply.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert "traceparent" not in traced.post(request()).headers
    traced.post(request(), SAMPLED)
    empty.trace(TRACE, 7)
    assert len([span for span in empty.spans if span.name == ROOT]) == 1
    eventually(lambda: spans_total(traced)["exported"] - before["exported"] == len(empty.spans))
    assert spans_total(traced)["dropped"] == 0


def test_a_share_of_the_requests_without_a_trace_begins_one_and_the_answer_names_it(
    tiny_model: Model, empty: Collector
) -> None:
    records: list[Any] = []
    with live_app(tiny_model, observers=[records.append], otlp_endpoint=empty.url, trace_share=1) as live:
        reply = live.post(request())
        _, trace_id, span_id, flags = reply.headers["traceparent"].split("-")
        root, stages = trace_of(empty.trace(trace_id, 7))
        assert (root.span_id, root.parent_id, flags) == (span_id, "", "01")
        assert records[0].trace_id == trace_id
        # Whoever leaves a trace out has decided that for us too.
        assert live.post(request(), UNSAMPLED).headers["traceparent"].endswith("-00")
    assert {span.trace_id for span in empty.spans} == {trace_id}
    assert stages


def test_errors_of_the_service_are_errors_of_the_span_and_errors_of_clients_are_not(empty: Collector) -> None:
    with live_app(otlp_endpoint=empty.url, trace_share=0) as live:
        assert live.post(request(), SAMPLED).status == 503
        root, _ = trace_of(empty.trace(TRACE))
        assert root.error
        assert root.attributes["http.response.status_code"] == 503
        assert root.attributes["error.type"] == "not-ready"
        assert root.attributes["listwright.outcome"] == "rejected"
        empty.spans.clear()
        assert live.post({}, SAMPLED).status == 422
        root, _ = trace_of(empty.trace(TRACE))
        assert not root.error
        assert root.attributes["http.response.status_code"] == 422


def test_a_degraded_list_says_why_and_its_wait_is_a_span(empty: Collector) -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), otlp_endpoint=empty.url, trace_share=0) as live:
        engine.hold.clear()
        sent = request(timeout_ms=200)
        check_list(sent, live.post(sent, SAMPLED).json)
        engine.hold.set()
        root, stages = trace_of(empty.trace(TRACE, 6))
    assert root.attributes["listwright.degraded"] == "deadline"
    assert "listwright.choice" not in root.attributes
    (wait,) = [span for span in stages if span.name == "wait"]
    assert wait.seconds > 0.1
    assert not root.error


def test_a_request_that_is_refused_by_its_headers_is_traced_too(empty: Collector) -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), otlp_endpoint=empty.url, trace_share=0, max_in_flight=1) as live:
        engine.hold.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(live.post, request(), UNSAMPLED)
            eventually(lambda: live.series("rerank_in_flight") == 1)
            reply = live.request(
                "POST", "/v1/rerank", json.dumps(request()).encode(), {"Content-Type": "application/json", **SAMPLED}
            )
            engine.hold.set()
            assert first.result().status == 200
        (root,) = empty.trace(TRACE)
    assert reply.status == 503
    assert reply.headers["traceparent"] == f"00-{TRACE}-{root.span_id}-01"
    assert root.error
    assert root.attributes["error.type"] == "overloaded"


def test_a_batch_is_one_span_with_one_below_it_for_each_request(traced: Live, empty: Collector) -> None:
    body = json.dumps({"requests": [request(), {}, request(request_id="third")]}).encode()
    reply = traced.request("POST", "/v1/rerank/batch", body, {"Content-Type": "application/json", **SAMPLED})
    found = empty.trace(TRACE, 1 + 1 + 6 + 6 + 1)
    root, below = trace_of(found)
    assert root.name == "POST /v1/rerank/batch"
    assert (root.parent_id, root.attributes["listwright.requests"]) == (PARENT, 3)
    assert reply.headers["traceparent"].split("-")[2] == root.span_id
    parts = [span for span in below if span.parent_id == root.span_id and span.name == "rerank"]
    assert [part.attributes["listwright.outcome"] for part in parts] == ["ok", "invalid", "ok"]
    assert parts[2].attributes["listwright.request_id"] == "third"
    for span in below:
        (parent,) = [other for other in found if other.span_id == span.parent_id]
        assert parent.start <= span.start <= span.end <= parent.end


def test_requests_that_one_run_served_are_linked_by_its_span(empty: Collector) -> None:
    engine = FakeEngine()
    ids = [f"{i:032x}" for i in (1, 2, 3)]
    with live_app(fake_model(engine), otlp_endpoint=empty.url, trace_share=0) as live:
        engine.hold.clear()
        with ThreadPoolExecutor(4) as pool:
            blocking = pool.submit(live.post, request())
            eventually(lambda: len(engine.batches) == 1)
            others = [pool.submit(live.post, request(), {"traceparent": f"00-{i}-{PARENT}-01"}) for i in ids]
            eventually(lambda: live.series("rerank_queue_depth") == 3)
            engine.hold.set()
            assert [reply.result().status for reply in (blocking, *others)] == [200] * 4
        infers = [span for i in ids for span in empty.trace(i, 7) if span.name == "infer"]
        (run,) = empty.wait_for(lambda spans: any(span.name == "run" for span in spans)) and [
            span for span in empty.spans if span.name == "run"
        ]
    assert [span.links for span in infers] == [((run.trace_id, run.span_id),)] * 3
    assert run.trace_id not in ids
    assert run.attributes["listwright.batch_size"] == 3
    assert (run.start, run.end) == (infers[0].start, infers[0].end)
    assert run.links[0][0] in ids


def test_the_shadow_has_a_trace_of_its_own_that_is_linked_to_the_request(empty: Collector) -> None:
    models = [fake_model(), fake_model(None, Options(name="next"))]
    more: dict[str, Any] = {"default_model": "tiny", "shadow": "next", "shadow_share": 1.0}
    with live_app(*models, otlp_endpoint=empty.url, trace_share=0, **more) as live:
        live.post(request(), SAMPLED)
        root, _ = trace_of(empty.trace(TRACE, 7))
        (shadow,) = empty.wait_for(lambda spans: any(span.name == "shadow" for span in spans)) and [
            span for span in empty.spans if span.name == "shadow"
        ]
    assert shadow.trace_id != TRACE
    assert shadow.parent_id == ""
    assert shadow.links == ((TRACE, root.span_id),)
    assert shadow.attributes["listwright.model"] == "next"
    assert shadow.attributes["listwright.shadow.outcome"] == "scored"
    assert shadow.attributes["listwright.shadow.kendall_tau"] == 1
    assert shadow.start >= root.end - 1_000_000


def test_the_process_is_described_and_the_variables_of_opentelemetry_win(
    tiny_model: Model, empty: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=7")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "reranker")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    with live_app(tiny_model, otlp_endpoint=f"{empty.url}/", trace_share=1) as live:
        live.post(request())
        empty.wait_for(len)
    (resource,) = {tuple(sorted(span.resource.items())) for span in empty.spans}
    found = dict(resource)
    assert found["service.name"] == "reranker"
    assert found["service.version"] == "7"
    assert found["deployment.environment.name"] == "test"
    assert found["service.instance.id"]
    assert empty.headers[-1]["authorization"] == "Bearer secret"


def test_the_duration_of_a_sampled_request_names_its_trace_to_scrapers_of_openmetrics(traced: Live) -> None:
    traced.post(request(), SAMPLED)
    traced.post(request(), UNSAMPLED)
    text = traced.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"}).body.decode()
    exemplars = [
        (family.name, sample)
        for family in read_openmetrics(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert {name for name, _ in exemplars} == {"rerank_request_duration_seconds"}
    for _, sample in exemplars:
        assert sample.exemplar is not None
        assert sample.exemplar.labels == {"trace_id": TRACE}
        assert sample.exemplar.value <= float(sample.labels["le"])
    assert TRACE not in traced.get("/metrics").body.decode()


def test_without_a_collector_nothing_is_traced(server: Live) -> None:
    assert "traceparent" not in server.post(request()).headers
    assert server.post(request(), SAMPLED).headers["traceparent"].startswith(f"00-{TRACE}-")
    assert server.records[-1].spans is None
    assert spans_total(server) == dict.fromkeys(SPAN_RESULTS, 0)


def test_laps_follow_each_other_also_where_a_stage_comes_twice() -> None:
    clock = SpanStopwatch(time.perf_counter() - 0.01, 0.002)
    stages: list[RequestStage] = ["decode", "deal", "live", "deal", "live"]
    for stage in stages:
        clock.lap(stage)
    clock.engine_missed()
    clock.lap("respond")
    laps: list[Lap] = clock.laps
    assert [lap.stage for lap in laps] == ["lag", "decode", "deal", "live", "deal", "live", "wait", "respond"]
    assert all(a.end <= b.start for a, b in itertools.pairwise(laps))
    for stage in stages[1:3]:
        spent = sum(lap.end - lap.start for lap in laps if lap.stage == stage)
        assert spent == pytest.approx(clock.stages[stage], abs=1e-6)
    assert set(clock.stages) <= set(STAGES)
    assert "wait" not in clock.stages
