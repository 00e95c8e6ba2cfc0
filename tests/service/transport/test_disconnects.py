"""Clients that leave, at every stage: nothing stays in progress, nothing runs for them, nothing is logged as fault."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator

import pytest

from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.raw import Connection, connected, head, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually

Leave = Callable[[Connection], None]


def close(connection: Connection) -> None:
    connection.sock.close()


def reset(connection: Connection) -> None:
    connection.reset()


both_ways = pytest.mark.parametrize("leave", [close, reset])


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.hold.set()


@pytest.fixture
def live(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> Iterator[Live]:
    """A server that must be as good as new when the test ends, and have nothing to complain about."""
    with live_app(fake_model(engine)) as server:
        yield server
        engine.hold.set()
        eventually(lambda: server.series("rerank_in_flight") == 0)
        eventually(lambda: server.series("rerank_queue_depth") == 0)
        eventually(lambda: server.series("rerank_unfinished_bytes") == 0)
        reply = server.post(request())
        assert (reply.status, reply.json["degraded"]) == (200, None)
    logged = [*caplog.get_records("call"), *caplog.records]
    assert not [record.getMessage() for record in logged if record.levelno >= logging.WARNING]


def count(live: Live, outcome: str, model: str = "none", version: str = "none") -> float | None:
    return live.series("rerank_request_duration_seconds_count", model=model, version=version, outcome=outcome)


@both_ways
@pytest.mark.parametrize("sent", [b"", b"POST /v1/re", b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-"])
def test_before_the_headers_are_whole_nothing_is_recorded(live: Live, leave: Leave, sent: bytes) -> None:
    client = Connection(live.port)
    client.send(sent)
    time.sleep(0.05)
    leave(client)
    assert live.get("/v2/health/live").status == 200
    assert not live.records


@both_ways
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_in_the_middle_of_the_body(live: Live, leave: Leave, share: float) -> None:
    body = json.dumps(request()).encode()
    client = Connection(live.port)
    client.send(head(len(body)) + body[: int(share * len(body))])
    eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
    leave(client)
    eventually(lambda: count(live, "cancelled") == 1)
    assert (live.records[0].outcome, live.records[0].status) == ("cancelled", 499)


@both_ways
def test_in_the_middle_of_a_chunk(live: Live, leave: Leave) -> None:
    client = Connection(live.port)
    client.send(head(None, {"Transfer-Encoding": "chunked"}) + b"ff\r\n{")
    eventually(lambda: bool(live.series("rerank_unfinished_bytes")))
    leave(client)
    eventually(lambda: count(live, "cancelled") == 1)


@both_ways
def test_while_queued_the_work_is_dropped_and_never_run(live: Live, engine: FakeEngine, leave: Leave) -> None:
    engine.hold.clear()
    with connected(live.port) as first:
        first.ask(request(3))
        eventually(lambda: len(engine.batches) == 1)
        client = Connection(live.port)
        client.ask(request(4))
        eventually(lambda: live.series("rerank_queue_depth") == 1)
        leave(client)
        eventually(lambda: live.series("rerank_dropped_total", reason="client-gone") == 1)
        eventually(lambda: count(live, "cancelled", "tiny", "1") == 1)
        eventually(lambda: live.series("rerank_in_flight") == 1)
        engine.hold.set()
        check_list(request(3), first.answer().json)
    assert [int(batch["valid"].sum()) for batch in engine.batches] == [3]
    assert live.series("rerank_dropped_total", reason="deadline") == 0


@both_ways
def test_while_the_engine_works_for_it(live: Live, engine: FakeEngine, leave: Leave) -> None:
    engine.hold.clear()
    client = Connection(live.port)
    client.ask(request())
    eventually(lambda: len(engine.batches) == 1)
    leave(client)
    eventually(lambda: count(live, "cancelled", "tiny", "1") == 1)
    eventually(lambda: live.series("rerank_in_flight") == 0)  # It does not wait for the engine.
    assert live.series("rerank_dropped_total", reason="client-gone") == 0, "its work had begun"


@both_ways
def test_those_that_shared_its_run_are_answered(live: Live, engine: FakeEngine, leave: Leave) -> None:
    engine.hold.clear()
    with connected(live.port) as first, connected(live.port) as staying:
        first.ask(request(3))
        eventually(lambda: len(engine.batches) == 1)
        leaving = Connection(live.port)
        leaving.ask(request(4))
        staying.ask(request(5))
        eventually(lambda: live.series("rerank_queue_depth") == 2)
        leave(leaving)
        eventually(lambda: live.series("rerank_in_flight") == 2)
        engine.hold.set()
        check_list(request(3), first.answer().json)
        check_list(request(5), staying.answer().json)
    eventually(lambda: sorted(record.outcome for record in live.records) == ["cancelled", "ok", "ok"])


@both_ways
def test_while_the_answer_is_on_its_way(live: Live, leave: Leave) -> None:
    """A list that does not fit into the socket's buffers, and a client that never reads it."""
    sent = request(2000, top_n=2000)
    for one in sent["candidates"]:
        one["id"] = f"{one['id']:>250}"
        one.pop("embedding")
    client = Connection(live.port)
    client.ask(sent)
    eventually(lambda: bool(live.records) or live.series("rerank_in_flight") == 1)
    leave(client)
    eventually(lambda: len(live.records) == 1)
    eventually(lambda: live.series("rerank_in_flight") == 0)


@both_ways
def test_with_requests_still_in_the_pipeline(live: Live, engine: FakeEngine, leave: Leave) -> None:
    engine.hold.clear()
    client = Connection(live.port)
    client.send(post(request(3)) * 3)
    eventually(lambda: len(engine.batches) == 1)
    leave(client)
    eventually(lambda: live.series("rerank_in_flight") == 0)
    engine.hold.set()
    assert len(engine.batches) == 1


@both_ways
def test_after_a_refusal_with_its_body_unsent(engine: FakeEngine, leave: Leave) -> None:
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, connected(live.port) as first:
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        client = Connection(live.port)
        client.send(head(1000) + b"{")
        assert client.answer().status == 503
        leave(client)
        engine.hold.set()
        assert first.answer().status == 200
        eventually(lambda: [record.outcome for record in live.records] == ["rejected", "ok"])


def test_many_that_come_and_go_leave_nothing_behind(live: Live, engine: FakeEngine) -> None:
    body = json.dumps(request()).encode()
    whole = head(len(body)) + body
    cuts = [0, 1, 20, 60, len(whole) - len(body), len(whole) - 1, len(whole)]
    for i in range(60):
        if i % 20 == 0:
            engine.hold.clear()
        client = Connection(live.port)
        client.send(whole[: cuts[i % len(cuts)]])
        (reset if i % 2 else close)(client)
        if i % 20 == 10:
            engine.hold.set()
    engine.hold.set()
    eventually(lambda: live.series("rerank_in_flight") == 0)
    assert {record.outcome for record in live.records} <= {"cancelled", "ok"}


def test_a_body_of_one_byte_at_a_time_is_408_within_the_read_timeout() -> None:
    with live_app(fake_model(), read_timeout_seconds=0.5) as live, connected(live.port) as client:
        client.send(head(10_000))
        started = time.monotonic()
        client.sock.settimeout(0.05)
        reply = None
        while reply is None and time.monotonic() < started + WAIT_SECONDS:
            client.send(b" ")
            with contextlib.suppress(TimeoutError):
                reply = client.answer()
        assert reply is not None
        assert_problem(reply, 408, "request-timeout")
        assert reply.headers["connection"] == "close"
        eventually(lambda: live.series("rerank_in_flight") == 0)
        assert live.records[0].outcome == "invalid"
        assert live.records[0].seconds > 0.4
