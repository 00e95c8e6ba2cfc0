"""Collectors that are down, slow or refuse: spans are lost and counted, and requests never notice."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from service.bundles.model import Model
from service.server import check_traces
from service.settings import SettingsError, load_settings
from service.telemetry.spans import SPAN_RESULTS, SpanResult
from tests.service.live import WAIT_SECONDS, fake_model, live_app, make_settings
from tests.service.otlp import collecting, nobody, spans_total
from tests.service.requests import check_list, request
from tests.service.test_process import SERVE, Process, running
from tests.service.transport.test_transport import eventually

tracing_module = pytest.importorskip("service.telemetry.tracing", reason="needs the extra otel")


def test_a_collector_that_is_down_costs_spans_and_no_answers(
    tiny_model: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with caplog.at_level(logging.WARNING), live_app(tiny_model, otlp_endpoint=nobody(), trace_share=1) as live:
        for _ in range(5):
            sent = request()
            check_list(sent, live.post(sent).json)
        eventually(lambda: spans_total(live)["failed"] >= 35)
        assert spans_total(live)["exported"] == 0
    lines = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert lines
    assert len(lines) <= 4  # Not one for every batch.


def test_a_collector_that_answers_503_costs_spans_and_no_answers(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with collecting() as refusing, live_app(tiny_model, otlp_endpoint=refusing.url, trace_share=1) as live:
        refusing.status = 503
        assert live.post(request()).status == 200
        eventually(lambda: spans_total(live)["failed"] >= 7)
        refusing.status = 200
        _, trace_id, *_ = live.post(request()).headers["traceparent"].split("-")
        refusing.trace(trace_id, 7)


def test_a_collector_that_never_answers_costs_spans_and_no_answers_and_holds_up_no_stop() -> None:
    counted: dict[str, int] = dict.fromkeys(SPAN_RESULTS, 0)

    def count(result: SpanResult, spans: int) -> None:
        counted[result] += spans

    with collecting() as silent:
        silent.hold.clear()
        tracing = tracing_module.OtlpTracing(silent.url, 1.0, count, queued=100)
        with live_app(fake_model(), observers=[tracing.observe], otlp_endpoint=silent.url, trace_share=1) as live:
            slowest = 0.0
            for _ in range(60):
                sent = request()
                started = time.monotonic()
                check_list(sent, live.post(sent).json)
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < WAIT_SECONDS / 6
            handed = sum(1 + len(record.spans.laps) for record in live.records if record.spans is not None)
            assert counted["dropped"] >= handed - 100 - 64 - 8
            assert counted["exported"] == counted["failed"] == 0
            stopping = time.monotonic()
            tracing.close(0.3)
            assert time.monotonic() - stopping < 10
            assert sum(counted.values()) == handed
        assert time.monotonic() - stopping < 30


def test_what_waits_at_the_stop_is_sent() -> None:
    with collecting() as collector, live_app(fake_model(), otlp_endpoint=collector.url, trace_share=1) as live:
        _, trace_id, *_ = live.post(request()).headers["traceparent"].split("-")
    assert len([span for span in collector.spans if span.trace_id == trace_id]) >= 7


def test_no_thread_of_the_exporter_outlives_the_service() -> None:
    before = threading.active_count()
    with collecting() as collector, live_app(fake_model(), otlp_endpoint=collector.url, trace_share=1) as live:
        live.post(request())
    eventually(lambda: threading.active_count() <= before)


def test_without_the_extra_the_setting_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "service.telemetry.tracing"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    check_traces(make_settings())
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_OTLP_ENDPOINT \(--otlp-endpoint\): .*\.\[otel\]"):
        check_traces(make_settings(otlp_endpoint="http://localhost:4318"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must be a URL"),
        ("localhost:4318", "must be a URL"),
        ("grpc://localhost:4317", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://localhost:port", "[Pp]ort"),
        ("http://localhost:0", "port 0"),
        ("http://user:secret@localhost:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://localhost:4318/v1/traces", "/v1/traces is added"),
        ("http://localhost:4318/?key=secret", "/v1/traces is added"),
    ],
)
def test_an_address_that_cannot_work_is_refused_by_name(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=rf"LISTWRIGHT_OTLP_ENDPOINT \(--otlp-endpoint\): .*{why}") as raised:
        load_settings({"bundles": ".", "otlp_endpoint": url})
    assert "secret" not in str(raised.value)


def post(process: Process) -> str:
    """Send a request to a service that runs; returns the id of its trace."""
    sent = urllib.request.Request(
        f"http://127.0.0.1:{process.port}/v1/rerank",
        json.dumps(request()).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent, timeout=WAIT_SECONDS) as answer:
        check_list(request(), json.loads(answer.read()))
        return str(answer.headers["traceparent"].split("-")[1])


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_sends_the_spans_of_all_its_workers(bundle: Path, workers: int) -> None:
    with collecting() as collector:
        tracing = ["--otlp-endpoint", collector.url, "--trace-share", "1", "--budget-ms", "30000"]
        with running(bundle.parents[1], SERVE, *tracing, "--workers", str(workers)) as process:
            process.wait_until_ready()
            sent = []
            deadline = time.monotonic() + WAIT_SECONDS
            while len({span.resource["service.instance.id"] for span in collector.spans}) < workers:
                assert time.monotonic() < deadline
                sent.append(post(process))
            sent.append(post(process))
            status, _, err = process.stop()
        assert status == 0, err
        assert {span.trace_id for span in collector.spans} == set(
            sent
        )  # Those of the last second were sent at the stop.
        assert len({span.resource["process.pid"] for span in collector.spans}) == workers
        assert len({span.span_id for span in collector.spans}) == len(collector.spans)


@pytest.mark.long
def test_a_service_stops_in_time_though_its_collector_never_answers(bundle: Path) -> None:
    with collecting() as silent:
        silent.hold.clear()
        tracing = ["--otlp-endpoint", silent.url, "--trace-share", "1", "--budget-ms", "30000"]
        # The exporter itself would wait for ten times as long as the test does.
        timeout = str(10 * WAIT_SECONDS)
        with running(bundle.parents[1], SERVE, *tracing, OTEL_EXPORTER_OTLP_TIMEOUT=timeout) as process:
            process.wait_until_ready()
            post(process)
            status, _, err = process.stop()
        assert status == 0, err
        lost = [json.loads(line) for line in err.splitlines() if "spans that the collector has not taken" in line]
        assert len(lost) == 1
