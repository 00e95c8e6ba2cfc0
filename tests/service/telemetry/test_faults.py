"""What goes wrong is counted: models that fail, HTTP that is refused, files that run out, catalogues that grow old."""

from __future__ import annotations

import json
import resource
import socket
import time
from pathlib import Path

import pytest

from service.telemetry import connections as connections_module
from service.telemetry.catalogues import built_at
from service.telemetry.connections import open_descriptors
from tests.service.catalogued import catalogued
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.raw import connected
from tests.service.requests import request
from tests.service.tiny_bundle import Options
from tests.service.transport.test_transport import eventually


def test_a_model_that_fails_is_counted_by_version() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live:
        labels = {"model": "tiny", "version": "1"}
        live.post(request())
        assert live.series("rerank_model_errors_total", **labels) == 0
        engine.error = RuntimeError("broken")
        live.post(request())
        live.request("POST", "/v1/rerank/batch", _batch(2), {"Content-Type": "application/json"})
        assert live.series("rerank_model_errors_total", **labels) == 3
        live.registry.publish(fake_model(FakeEngine(order=[7] * 8), Options(version="2")))
        live.post(request())
        assert live.series("rerank_model_errors_total", **labels) == 3
        assert live.series("rerank_model_errors_total", model="tiny", version="2") == 1, "an answer of no use"


def _batch(n: int) -> bytes:
    return json.dumps({"requests": [request()] * n}).encode()


GET = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"nonsense\r\n\r\n", "malformed-http"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed-http"),
        (GET + b"A: " + b"a" * 70_000, "headers-too-large"),
        (b"GET /" + b"a" * 70_000, "uri-too-long"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "not-implemented"),
        (b"POST /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "malformed-http"),
        (GET, "timeout"),
    ],
)
def test_a_request_whose_http_is_refused_is_counted(sent: bytes, reason: str) -> None:
    with live_app(fake_model(), read_timeout_seconds=0.5) as live:
        with connected(live.port) as client:
            client.send(sent)
            while client.read() is not None:
                pass
        eventually(lambda: heads(live, reason) == 1)
        others = ("malformed-http", "headers-too-large", "uri-too-long", "not-implemented", "timeout")
        assert sum(heads(live, other) for other in others) == 1


def test_a_connection_that_asks_for_nothing_is_no_refused_head() -> None:
    with live_app(fake_model(), read_timeout_seconds=0.3) as live:
        with connected(live.port) as client:
            assert client.read() is None
        assert heads(live, "timeout") == 0


def heads(live: Live, reason: str) -> float:
    return live.series("rerank_heads_refused_total", reason=reason) or 0


def test_open_files_are_counted_beside_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with live_app(fake_model()) as live:
        before = live.series("rerank_open_descriptors") or 0
        opened = [socket.socket() for _ in range(50)]
        try:
            assert (live.series("rerank_open_descriptors") or 0) == pytest.approx(before + 50, abs=8)
            fast = open_descriptors()
            monkeypatch.setattr(connections_module, "_DESCRIPTORS", _Old("/proc/self/fd"))
            assert open_descriptors() == pytest.approx(fast, abs=8), "systems before Linux 6.2 list them"
        finally:
            for each in opened:
                each.close()
        assert live.series("rerank_descriptor_limit") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class _Old(type(Path())):  # type: ignore[misc]
    """A folder of a system that tells no size of it."""

    def stat(self, **_: object) -> object:
        class Nothing:
            st_size = 0

        return Nothing()


def test_a_live_catalogue_says_when_it_was_built() -> None:
    with catalogued(fake_model()) as live:
        (key,) = live.catalogues.live
        manifest = live.catalogues.live[key].manifest
        shown = live.series("rerank_catalogue_built_timestamp_seconds", fingerprint=key[:12])
        assert shown == built_at(manifest.provenance) == 1_793_534_400
        live.catalogues.swap({})
        assert live.series("rerank_catalogue_built_timestamp_seconds", fingerprint=key[:12]) is None


def test_the_time_of_a_catalogue_may_be_missing() -> None:
    now = int(time.time())
    text = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now))
    assert built_at({"at": text}) == now
    assert [built_at(p) for p in ({}, {"at": 5}, {"at": None}, {"at": "yesterday"})] == [None] * 4


def test_one_process_is_the_one_worker_that_is_wanted() -> None:
    with live_app(fake_model()) as live:
        assert live.series("rerank_workers_live") == live.series("rerank_workers_wanted") == 1
