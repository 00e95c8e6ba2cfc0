"""Sockets and their clients: limits, timeouts, keys, overload, and clients that leave."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import HOST, WAIT_SECONDS, FakeEngine, Live, Reply, fake_model, live_app
from tests.service.requests import check_list, request

LIMIT = 20_000
HEAD = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def small() -> Iterator[Live]:
    """A server with a small body limit and short timeouts."""
    with live_app(fake_model(), max_body_bytes=LIMIT, read_timeout_seconds=0.5) as live:
        yield live


def parse(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Reply(int(lines[0].split()[1]), headers, body)


def chunked(body: bytes, size: int = 4096) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_chunked_body_is_read(small: Live) -> None:
    sent = request()
    with contextlib.closing(http.client.HTTPConnection(HOST, small.port, timeout=WAIT_SECONDS)) as connection:
        body = json.dumps(sent).encode()
        connection.request(
            "POST",
            "/v1/rerank",
            iter([body[:100], body[100:]]),
            {"Content-Type": "application/json"},
            encode_chunked=True,
        )
        response = connection.getresponse()
        check_list(sent, json.loads(response.read()))


def test_a_body_over_the_limit_is_413(small: Live) -> None:
    assert_problem(small.post(b" " * (LIMIT + 1)), 413, "body-too-large", text=str(LIMIT))


def test_a_body_at_the_limit_is_accepted(small: Live) -> None:
    body = json.dumps(request()).encode()
    assert small.post(body + b" " * (LIMIT - len(body))).status == 200


def test_a_chunked_body_over_the_limit_is_413_though_it_declares_no_length(small: Live) -> None:
    raw = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunked(b" " * (LIMIT + 1))
    assert_problem(parse(small.raw(raw)), 413, "body-too-large")


def test_a_body_far_over_the_limit_is_cut_off(small: Live) -> None:
    reply = parse(small.raw(HEAD + b"Content-Length: %d\r\n\r\n" % (100 * LIMIT)))
    assert_problem(reply, 413, "body-too-large")
    assert reply.headers["connection"] == "close"


def test_a_client_that_asks_before_it_sends_is_told_413_at_once(small: Live) -> None:
    raw = small.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1))
    assert raw.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_arrive_is_408(small: Live) -> None:
    reply = parse(small.raw(HEAD + b"Content-Length: 100\r\n\r\n{"))
    assert_problem(reply, 408, "request-timeout")
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("head", [b"", b"POST /v1/rerank HT", HEAD, HEAD + b"X-Slow: "])
def test_headers_that_do_not_arrive_end_the_connection(small: Live, head: bytes) -> None:
    assert small.raw(head) == b""


def test_slow_headers_on_a_kept_alive_connection_end_it_too(small: Live) -> None:
    assert small.raw(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2").count(b"HTTP/1.1 200 OK") == 1


def test_what_is_not_http_is_a_400_problem(small: Live) -> None:
    for raw in (b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", HEAD + b"Content-Length: ten\r\n\r\n"):
        reply = parse(small.raw(raw))
        assert reply.status == 400
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json["type"] == "urn:listwright:problem:malformed-http"


def test_a_connection_serves_many_requests_also_after_bad_ones(small: Live) -> None:
    with contextlib.closing(http.client.HTTPConnection(HOST, small.port, timeout=WAIT_SECONDS)) as connection:
        for body, status in [(b"{", 400), (b" " * (LIMIT + 1), 413), (json.dumps(request()).encode(), 200)] * 3:
            connection.request("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            assert response.status == status


def test_no_header_says_which_server_this_is(small: Live) -> None:
    assert "server" not in small.get("/v2/health/live").headers


def test_keys_are_needed_where_they_are_set_and_never_for_probes() -> None:
    with live_app(fake_model(), api_keys="one, two") as live:
        for headers in (
            {},
            {"Authorization": "Bearer three"},
            {"Authorization": "Basic one"},
            {"Authorization": "one"},
        ):
            assert_problem(live.post(request(), headers), 401, "unauthorized")
            assert live.get("/v1/models", headers).status == 401
            assert live.get("/v1/slo", headers).status == 401
        assert live.post(request(), {"Authorization": "Bearer two"}).status == 200
        assert live.get("/v1/models", {"Authorization": "bearer one"}).status == 200
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
            assert live.get(path).status == 200
        assert live.post(request(), {"Authorization": "Bearer \xff"}).headers["www-authenticate"] == "Bearer"


def test_requests_beyond_the_cap_get_503_before_their_body_is_read() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), max_in_flight=2) as live:
        engine.hold.clear()
        replies: list[Reply] = []
        threads = [threading.Thread(target=lambda: replies.append(live.post(request()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: live.series("rerank_in_flight") == 2)
        # The body is promised but never sent: only an answer from the headers alone can come.
        refused = parse(live.raw(HEAD + b"Content-Length: 100\r\nConnection: close\r\n\r\n"))
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert live.get("/v2/health/live").status == 200
        engine.hold.set()
        for thread in threads:
            thread.join()
        assert [reply.status for reply in replies] == [200, 200]
        assert live.series("rerank_rejected_total", reason="overloaded") == 1
        eventually(lambda: live.series("rerank_in_flight") == 0)
        assert live.post(request()).status == 200


def test_a_client_that_leaves_while_sending_is_counted_as_cancelled() -> None:
    with live_app(fake_model()) as live:
        with socket.create_connection((HOST, live.port)) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
            eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
        eventually(lambda: bool(live.records))
        assert live.records[0].outcome == "cancelled"
        eventually(lambda: live.series("rerank_in_flight") == 0)


def test_a_client_that_leaves_while_it_waits_does_no_harm() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live:
        engine.hold.clear()
        body = json.dumps(request()).encode()
        with socket.create_connection((HOST, live.port)) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            eventually(lambda: bool(engine.batches))
        engine.hold.set()
        assert live.post(request()).status == 200


def test_not_ready_says_why_everywhere() -> None:
    with live_app() as empty:
        assert_problem(empty.get("/v2/health/ready"), 503, "not-ready", text="no bundle is loaded")
        assert_problem(empty.post(request()), 503, "not-ready", text="no bundle is loaded")
        assert empty.post(request()).headers["retry-after"] == "1"
        assert empty.get("/v2/health/live").json == {"status": "ok"}
        assert empty.get("/v1/models").json == {"models": []}
    with live_app(ready=False) as loading:
        assert_problem(loading.get("/v2/health/ready"), 503, "not-ready", text="being loaded")
        assert_problem(loading.post(request()), 503, "not-ready", text="being loaded")
        assert loading.series("rerank_rejected_total", reason="not-ready") == 1


def test_a_bundle_that_failed_keeps_the_service_not_ready_but_others_answer() -> None:
    with live_app(fake_model()) as live:
        live.registry.fail("broken", "model.onnx: SHA-256 differs")
        assert_problem(live.get("/v2/health/ready"), 503, "not-ready", text="SHA-256 differs")
        assert_problem(live.post(request(model="broken")), 503, "not-ready", text="SHA-256 differs")
        assert live.post(request(model="tiny")).status == 200


def test_draining_says_not_ready_and_still_answers() -> None:
    with live_app(fake_model()) as live:
        live.registry.drain()
        assert_problem(live.get("/v2/health/ready"), 503, "not-ready", text="shutting down")
        assert live.post(request()).status == 200
