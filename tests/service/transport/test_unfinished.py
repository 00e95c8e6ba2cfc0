"""Requests that have come in part take no place among those in progress, and together only so many bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.contract.serving import BATCH_PATH
from service.transport.connections import Unfinished
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.raw import Connection, connected, connections, head, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually

MEBIBYTE = 1024 * 1024
SMALL: dict[str, Any] = {"max_unfinished_mb": 2, "max_body_bytes": MEBIBYTE}


def test_heads_with_one_byte_of_body_keep_nobody_out() -> None:
    with live_app(fake_model(), max_in_flight=2) as live, connections(live.port, 20) as slow:
        body = json.dumps(request()).encode()
        for client in slow:
            client.send(head(len(body)) + body[:1])
        eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) >= 20)
        assert live.series("rerank_in_flight") == 0
        check_list(request(), live.post(request()).json)
        for client in slow:  # One at a time, each finds room.
            client.send(body[1:])
            check_list(request(), client.answer().json)
        eventually(lambda: live.series("rerank_unfinished_bytes") == 0)


def test_those_that_become_whole_when_there_is_no_room_are_refused() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), max_in_flight=1) as live, connections(live.port, 2) as (first, slow):
        body = json.dumps(request()).encode()
        slow.send(head(len(body)) + body[:-1])
        eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
        engine.hold.clear()
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        slow.send(body[-1:])
        reply = slow.answer()
        assert_problem(reply, 503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        assert "connection" not in reply.headers
        engine.hold.set()
        assert first.answer().status == 200
        eventually(lambda: live.series("rerank_in_flight") == 0)  # An answer is sent before its place is free.
        slow.ask(request())
        assert slow.answer().status == 200


def test_requests_that_came_whole_count_before_the_first_of_them_begins() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=3) as live, connections(live.port, 12) as clients:
        for client in clients:
            client.ask(request())
        eventually(lambda: live.series("rerank_rejected_total", reason="overloaded") == 9)
        assert live.series("rerank_in_flight") == 3
        engine.hold.set()
        assert sorted(client.answer().status for client in clients) == [200] * 3 + [503] * 9
        eventually(lambda: live.series("rerank_in_flight") == 0)


@pytest.mark.parametrize(
    ("limits", "fitting"),
    [
        ({"max_unfinished_mb": 4}, 2),
        ({"max_unfinished_mb": 64, "max_unfinished_per_peer_mb": 3}, 1),
    ],
    ids=["in all", "by address"],
)
def test_beyond_the_limit_the_client_that_adds_to_it_is_refused(limits: dict[str, Any], fitting: int) -> None:
    with live_app(fake_model(), **limits) as live, connections(live.port, fitting) as clients:
        for sent, client in enumerate(clients, 1):
            client.send(head(2 * MEBIBYTE) + b" " * int(1.3 * MEBIBYTE))
            wanted = sent * 1.3 * MEBIBYTE
            eventually(lambda wanted=wanted: (live.series("rerank_unfinished_bytes") or 0) >= wanted)  # type: ignore[misc]
        with connected(live.port) as late:
            late.send(head(2 * MEBIBYTE) + b" " * int(1.8 * MEBIBYTE))
            reply = late.answer()
            assert_problem(reply, 503, "overloaded")
            assert reply.headers["retry-after"] == "1"
            assert reply.headers["connection"] == "close"
            assert late.read() is None
        assert live.series("rerank_connections_refused_total", reason="unfinished") == 1
        for client in clients:
            client.send(b" " * (2 * MEBIBYTE - int(1.3 * MEBIBYTE)))
            assert_problem(client.answer(), 400, "malformed-json")
        eventually(lambda: live.series("rerank_unfinished_bytes") == 0)
        eventually(lambda: live.series("rerank_in_flight") == 0)


TOO_MUCH = b" " * int(1.6 * MEBIBYTE)
CHUNKED = {"Transfer-Encoding": "chunked"}


def hold_most(live: Live, client: Connection) -> None:
    """Have a client hold a whole body's bytes, so that another has no room for as many."""
    client.send(head(len(TOO_MUCH)) + TOO_MUCH[:-1])
    eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) >= MEBIBYTE)


@pytest.mark.parametrize(
    ("length", "headers", "begun", "rest", "status", "slug", "outcome"),
    [
        (len(TOO_MUCH), {}, TOO_MUCH[:10], TOO_MUCH[10:], 503, "overloaded", "rejected"),
        (len(TOO_MUCH), {}, b"", TOO_MUCH, 503, "overloaded", "rejected"),
        (None, CHUNKED, b"1\r\n{\r\n", b"x\r\n", 400, "malformed-http", "invalid"),
        (None, CHUNKED, b"", b"x\r\n", 400, "malformed-http", "invalid"),
    ],
)
@pytest.mark.parametrize("asked", [{"X-Request-Id": "my-own"}, {}])
def test_an_answer_while_the_body_comes_is_the_request_s_own_outcome(
    length: int | None,
    headers: dict[str, str],
    begun: bytes,
    rest: bytes,
    status: int,
    slug: str,
    outcome: str,
    asked: dict[str, str],
) -> None:
    with live_app(fake_model(), **SMALL) as live, connected(live.port) as other, connected(live.port) as client:
        hold_most(live, other)
        client.send(head(length, headers | asked) + begun)
        if begun:
            eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) > MEBIBYTE + 4096)
        client.send(rest)
        reply = client.answer()
        assert_problem(reply, status, slug)
        eventually(lambda: len(live.records) == 1)
        (record,) = live.records
        assert (record.outcome, record.status, record.reason) == (outcome, status, slug)
        assert record.request_id == reply.headers["x-request-id"] == reply.json["request_id"]
        assert asked.get("X-Request-Id", record.request_id) == record.request_id
        rejected = outcome == "rejected"
        assert live.series("rerank_rejected_total", reason="overloaded") == rejected
        assert live.series("rerank_connections_refused_total", reason="unfinished") == rejected
        assert live.series("rerank_slo_valid_total", objective="latency") == rejected
        assert live.series("rerank_heads_refused_total", reason="malformed-http") == 0


def test_an_answer_while_a_batch_comes_is_its_own_outcome() -> None:
    with live_app(fake_model(), **SMALL) as live, connected(live.port) as other, connected(live.port) as client:
        hold_most(live, other)
        client.send(head(len(TOO_MUCH), path=BATCH_PATH) + TOO_MUCH)
        assert_problem(client.answer(), 503, "overloaded")
        eventually(lambda: live.series("rerank_batch_duration_seconds_count", outcome="rejected") == 1)


def test_a_request_that_has_its_answer_is_not_counted_again() -> None:
    with live_app(fake_model()) as live, connected(live.port) as client:
        client.send(head(None, CHUNKED | {"Content-Type": "text/plain"}) + b"1\r\n{\r\n")
        assert_problem(client.answer(), 415, "unsupported-media-type")
        client.send(b"x\r\n")
        assert client.read() is None
        assert [(record.outcome, record.status) for record in live.records] == [("invalid", 415)]
        assert live.series("rerank_heads_refused_total", reason="malformed-http") == 0


def test_a_request_that_never_begins_is_told_of_by_its_connection() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        client.ask(request())
        client.send(head(None, CHUNKED | {"X-Request-Id": "second"}) + b"x\r\n")
        eventually(lambda: live.series("rerank_heads_refused_total", reason="malformed-http") == 1)
        engine.hold.set()
        assert client.answer().status == 200
        assert client.answer().headers["x-request-id"] == "second"
        eventually(lambda: len(live.records) == 1)


def test_another_address_has_its_own_share() -> None:
    limits: dict[str, Any] = {"max_unfinished_per_peer_mb": 1, "max_body_bytes": MEBIBYTE - 4096}
    with live_app(fake_model(), **limits) as live, connected(live.port) as client:
        client.send(head(2 * MEBIBYTE) + b" " * (MEBIBYTE - 8192))
        eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) > MEBIBYTE - 8192)
        other = Connection(live.port, source="127.0.0.9")
        other.send(post(b" " * 500_000))
        assert_problem(other.answer(), 400, "malformed-json")
        other.sock.close()


def test_what_is_given_back_is_forgotten() -> None:
    unfinished = Unfinished(100, 60)
    assert unfinished.change("a", 60)
    assert not unfinished.change("a", 1)
    assert unfinished.change("b", 39)
    assert not unfinished.change("b", 1)
    assert unfinished.change("a", -61)
    assert unfinished.change("b", -40)
    assert unfinished.total == 0
    assert not unfinished._peers
