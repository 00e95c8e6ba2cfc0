"""A refusal on the wire: from the headers alone, one for each request, and what it leaves of the connection."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, Reply, fake_model, live_app
from tests.service.raw import Connection, connected, connections, head, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually


@contextlib.contextmanager
def full(**settings: Any) -> Iterator[Live]:
    """A server that has as many requests in progress as it takes: one, which waits for its engine."""
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1, **settings) as live, connected(live.port) as first:
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        try:
            yield live
        finally:
            engine.hold.set()
            check_list(request(), first.answer().json)


def check_refused(reply: Reply) -> None:
    assert_problem(reply, 503, "overloaded")
    assert reply.headers["retry-after"] == "1"


def test_a_refusal_comes_from_the_headers_alone_and_the_connection_lives_on() -> None:
    body = json.dumps(request()).encode()
    with full() as live, connected(live.port) as client:
        client.send(head(len(body)))
        check_refused(client.answer())
        client.send(body)
        client.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().json == {"status": "ok"}


def test_the_next_request_on_a_refused_connection_is_answered_with_a_list() -> None:
    with connected_after_refusals() as (client, _):
        client.ask(request(6))
        check_list(request(6), client.answer().json)


@contextlib.contextmanager
def connected_after_refusals() -> Iterator[tuple[Connection, Live]]:
    """A client that has been refused several times, on a server that has room again."""
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, connections(live.port, 2) as (first, client):
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        for n in (1, 8, 40):
            client.ask(request(n))
            check_refused(client.answer())
        engine.hold.set()
        first.answer()
        eventually(lambda: live.series("rerank_in_flight") == 0)
        yield client, live
        assert [r.outcome for r in live.records if r.outcome != "ok"] == ["rejected"] * 3


def test_a_refused_body_of_a_megabyte_is_read_past() -> None:
    with full() as live, connected(live.port) as client:
        for _ in range(3):
            client.send(head(1_000_000))
            check_refused(client.answer())
            client.send(b" " * 1_000_000)
        client.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().status == 200
        assert live.series("rerank_rejected_total", reason="overloaded") == 3


def test_a_refused_chunked_body_is_read_past() -> None:
    with full() as live, connected(live.port) as client:
        client.send(head(None, {"Transfer-Encoding": "chunked"}) + b"5\r\nabcde\r\n")
        check_refused(client.answer())
        client.send(b"3\r\nxyz\r\n0\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().status == 200


def test_a_refused_body_that_turns_out_malformed_ends_the_connection_without_a_second_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for more in ({}, {"Connection": "close"}):
        with full() as live, connected(live.port) as client:
            client.send(head(None, {"Transfer-Encoding": "chunked", **more}))
            check_refused(client.answer())
            client.send(b"not a chunk\r\n")
            assert client.read() is None
            assert live.get("/v2/health/live").status == 200
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_a_refused_body_that_does_not_come_is_cut_off() -> None:
    with full(read_timeout_seconds=0.3) as live, connected(live.port) as client:
        client.send(head(100) + b"{")
        check_refused(client.answer())
        assert client.read() is None


def test_a_refused_body_that_trickles_is_cut_off_too() -> None:
    with full(read_timeout_seconds=0.3) as live, connected(live.port) as client:
        client.send(head(100_000))
        check_refused(client.answer())
        sending = time.monotonic() + WAIT_SECONDS
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < sending:
                client.send(b" ")
                time.sleep(0.02)
        assert time.monotonic() < sending, "it could go on sending"


def test_a_client_that_asks_to_go_ahead_is_refused_without_sending_and_told_that_the_connection_ends() -> None:
    """It need not send its body any more, so what would come next could be either: body or request."""
    with full(read_timeout_seconds=0.3) as live, connected(live.port) as client:
        client.send(head(100, {"Expect": "100-continue"}))
        reply = client.answer()
        check_refused(reply)
        assert reply.headers["connection"] == "close"
        assert client.read() is None
    with live_app(fake_model()) as live, connected(live.port) as client:
        body = json.dumps(request()).encode()
        client.send(head(len(body), {"Expect": "100-continue"}))
        assert client.answer().status == 100
        client.send(body)
        assert client.answer().status == 200


def test_a_faulty_body_in_the_packet_of_its_head_gets_one_answer_and_no_leave_to_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The fault is answered before the application asks for the body; nothing may be written after that answer."""
    with live_app(fake_model()) as live, connected(live.port) as client:
        client.send(head(None, {"Expect": "100-continue", "Transfer-Encoding": "chunked"}) + b"5\r\n{}more\r\n")
        assert_problem(client.answer(), 400, "malformed-http")
        assert client.read() is None
        check_list(request(), live.post(request()).json)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("version", "headers", "last"),
    [
        ("1.0", {}, True),
        ("1.1", {"Connection": "close"}, True),
        ("1.1", {}, False),
        ("1.1", {"Connection": "keep-alive"}, False),
    ],
)
def test_a_refusal_says_whether_the_connection_ends_with_it(version: str, headers: dict[str, str], last: bool) -> None:
    with full() as live, connected(live.port) as client:
        client.send(post(request(), headers, version=version))
        reply = client.answer()
        check_refused(reply)
        assert (reply.headers.get("connection") == "close") == last
        if last:
            assert client.read() is None
        else:
            client.ask(request())
            check_refused(client.answer())


def test_other_methods_and_paths_are_never_refused() -> None:
    with full() as live, connected(live.port) as client:
        for line, status in [
            (b"GET /v1/rerank", 405),
            (b"PUT /v1/rerank", 405),
            (b"GET /v2/health/ready", 200),
            (b"POST /v1/nope", 404),
        ]:
            client.send(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert client.answer().status == status
        with connected(live.port) as other:
            other.send(b"HEAD /v1/rerank HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert other.sock.recv(65536).startswith(b"HTTP/1.1 405")
        assert live.series("rerank_rejected_total", reason="overloaded") == 0


def test_a_query_does_not_open_the_door() -> None:
    raw = post(request()).replace(b"/v1/rerank", b"/v1/rerank?a=1", 1)
    with full() as live, connected(live.port) as client:
        client.send(raw)
        check_refused(client.answer())
        client.send(raw)
        check_refused(client.answer())


def test_pipelined_requests_are_answered_in_their_order_refused_or_not() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, connected(live.port) as client:
        client.send(post(request(request_id="first")))
        eventually(lambda: live.series("rerank_in_flight") == 1)
        for name in ("second", "third"):
            client.ask(request(request_id=name))
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.read()
        client.sock.settimeout(WAIT_SECONDS)
        engine.hold.set()
        assert [client.answer().json["request_id"] for _ in range(3)] == ["first", "second", "third"]


def test_pipelined_requests_that_are_all_refused_get_an_answer_each() -> None:
    with full() as live, connected(live.port) as client:
        client.send(post(request(3)) * 5 + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(5):
            check_refused(client.answer())
        assert client.answer().json == {"status": "ok"}


def test_a_refusal_is_recorded_and_echoes_its_request() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with full() as live, connected(live.port) as client:
        client.ask(request(), {"x-request-id": "r-7", "traceparent": trace})
        reply = client.answer()
        check_refused(reply)
        assert reply.headers["x-request-id"] == "r-7"
        assert reply.headers["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
        (record,) = live.records
        assert (record.outcome, record.status, record.reason) == ("rejected", 503, "overloaded")
        assert (record.request_id, record.trace_id) == ("r-7", "4bf92f3577b34da6a3ce929d0e0e4736")
        assert (record.model, record.version, record.degraded) == ("none", "none", None)
        assert 0 <= record.seconds < WAIT_SECONDS
        counted = live.series("rerank_request_duration_seconds_count", model="none", version="none", outcome="rejected")
        assert counted == 1
        assert live.series("rerank_in_flight") == 1, "a refused request is not in progress"


@pytest.mark.parametrize("asked_before", [False, True], ids=["new connection", "kept alive"])
def test_a_request_that_came_in_time_is_answered_though_the_loop_reads_it_too_late(
    asked_before: bool,
) -> None:
    """Refusing is done where sockets are read, and timers that have run out come before the next reading."""
    blocked, release, armed = threading.Event(), threading.Event(), threading.Event()

    def hold_the_loop(_: object) -> None:
        if armed.is_set():
            armed.clear()
            blocked.set()
            release.wait(WAIT_SECONDS)

    body = json.dumps(request()).encode()
    with (
        full(read_timeout_seconds=1.0, keep_alive_seconds=1, observers=[hold_the_loop]) as live,
        connected(live.port) as client,
    ):
        if asked_before:
            client.send(post(body))
            check_refused(client.answer())
        armed.set()
        with connected(live.port) as other:
            other.send(post(body))
            assert blocked.wait(WAIT_SECONDS)
            client.send(post(body))
            time.sleep(1.2)  # The timer ends while nobody reads.
            release.set()
            check_refused(client.answer())
