"""Who gets in: when a queue counts as standing, and what a refusal leaves of the connection."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import admission as module
from service.admission import Admission, AdmissionOptions, QueueDelay
from service.stacking import Batch
from tests.service.live import FakeEngine, Live, Reply, fake_model, live_app
from tests.service.raw import Connection, connected, connections, head, post
from tests.service.requests import check_list, request
from tests.service.test_bad_input import assert_problem
from tests.service.test_transport import eventually
from tests.service.tiny_bundle import Arrays

TARGET, INTERVAL = 0.005, 0.1
LONG, SHORT = 0.02, 0.001


def delay() -> QueueDelay:
    return QueueDelay(target_seconds=TARGET, interval_seconds=INTERVAL)


def feed(queue: QueueDelay, waits: list[float], start: float, span: float = INTERVAL) -> float:
    """Note `waits` evenly over `span` from `start` on; returns the end of it."""
    for i, seconds in enumerate(waits):
        queue.note(seconds, start + i * span / len(waits))
    return start + span


def test_nothing_stands_before_anybody_has_come() -> None:
    assert not delay().standing(0.0)
    assert not delay().standing(1e6)


def test_a_burst_that_empties_again_is_no_standing_queue() -> None:
    queue, now = delay(), 50.0
    for _ in range(20):
        # Somebody in every interval found no queue, however long the others waited.
        now = feed(queue, [SHORT, LONG, 10 * LONG, LONG], now)
        assert not queue.standing(now)


def test_a_queue_in_which_everybody_waits_for_a_whole_interval_stands() -> None:
    queue = delay()
    middle = feed(queue, [LONG] * 5, 50.0, INTERVAL / 2)
    assert not queue.standing(middle), "an interval has to pass first"
    end = feed(queue, [LONG] * 20, middle, 2 * INTERVAL)
    assert queue.standing(end)


def test_it_ends_only_when_some_intervals_in_a_row_were_calm() -> None:
    queue = delay()
    now = feed(queue, [LONG] * 30, 50.0, 3 * INTERVAL)
    assert queue.standing(now)
    now = feed(queue, [SHORT] * 10, now)
    assert queue.standing(now), "one calm interval could be chance"
    now = feed(queue, [LONG] * 10, now)
    now = feed(queue, [SHORT] * 100, now, 6 * INTERVAL)
    assert not queue.standing(now)


def test_it_ends_when_nobody_comes_any_more() -> None:
    queue = delay()
    now = feed(queue, [LONG] * 30, 50.0, 3 * INTERVAL)
    assert queue.standing(now)
    assert not queue.standing(now + 10 * INTERVAL)
    assert not queue.standing(now + 1e6)


@given(
    waits=st.lists(st.tuples(st.floats(0, 3 * INTERVAL), st.floats(0, 4 * TARGET)), max_size=60),
    start=st.floats(0.001, 1e5),
)
def test_it_never_stands_while_all_waits_are_below_the_target_and_always_once_all_are_above(
    waits: list[tuple[float, float]], start: float
) -> None:
    low, high, now = delay(), delay(), start
    for pause, seconds in waits:
        now += pause
        low.note(min(seconds, TARGET), now)
        high.note(2 * TARGET + seconds, now)
        assert not low.standing(now)
    if waits and now - start > 2 * INTERVAL and all(pause < INTERVAL for pause, _ in waits):
        assert high.standing(now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose only item is the time as admission sees it."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def crowd(admission: Admission, clock: list[float]) -> None:
    """A standing queue: everybody waits, and each in progress adds 4 ms."""
    for i in range(60):
        n = 1 + i % 5
        admission.waited(LONG)
        admission.answered(n, 0.004 * n)
        clock[0] += 0.01


def admit(**options: Any) -> Admission:
    return Admission(AdmissionOptions(**{"limit": 16, "budget_seconds": 0.017, **options}))


def test_a_standing_queue_sheds_what_could_not_be_answered_in_time_and_no_more(clock: list[float]) -> None:
    admission = admit()
    crowd(admission, clock)
    assert admission.overloaded
    assert admission.refusal() is None, "an idle service lets everybody in"
    refusals = []
    for _ in range(6):
        refusals.append(admission.refusal())
        admission.enter()
    # The next after three would be the fourth: 16 ms, within 17; the fifth would not.
    assert refusals == [None, None, None, None, "shed", "shed"]
    for _ in range(6):
        admission.leave()
    assert admission.refusal() is None


def test_without_a_standing_queue_nothing_is_shed_however_many_are_in(clock: list[float]) -> None:
    admission = admit()
    crowd(admission, clock)
    clock[0] += 60
    for _ in range(15):
        assert admission.refusal() is None
        admission.enter()
    assert admission.refusal() is None
    admission.enter()
    assert admission.refusal() == "overloaded", "the hard cap holds all the same"


def test_where_deadlines_are_only_observed_nothing_is_shed_but_the_cap_holds(clock: list[float]) -> None:
    admission = admit(enforce=False)
    crowd(admission, clock)
    for _ in range(16):
        assert admission.refusal() is None
        admission.enter()
    assert admission.would_shed()
    assert admission.refusal() == "overloaded"


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
        sending = time.monotonic() + 5
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
        client.sock.settimeout(10)
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
        assert 0 <= record.seconds < 1
        counted = live.series("rerank_request_duration_seconds_count", model="none", version="none", outcome="rejected")
        assert counted == 1
        assert live.series("rerank_in_flight") == 1, "a refused request is not in progress"


class Slow(FakeEngine):
    """One request at a time, 4 ms each."""

    largest_batch = 1

    def run(self, batch: Batch) -> Arrays:
        time.sleep(0.004)
        return super().run(batch)


def test_more_than_can_be_answered_in_time_is_shed_with_retry_after_and_it_recovers() -> None:
    """A target next to nothing makes any queue a standing one, so this hangs on no timing but the engine's own."""
    stop, replies = threading.Event(), list[Reply]()

    def ask(live: Live) -> None:
        with connected(live.port) as client:
            while not stop.is_set():
                client.ask(request())
                replies.append(client.answer())

    with live_app(fake_model(Slow()), budget_ms=19, queue_target_ms=0.001, queue_interval_ms=20) as live:
        threads = [threading.Thread(target=ask, args=(live,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: (live.series("rerank_rejected_total", reason="shed") or 0) > 20)
            assert live.series("rerank_overloaded") == 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for reply in replies:
            if reply.status != 200:
                assert_problem(reply, 503, "shed")
                assert reply.headers["retry-after"] == "1"
            else:
                check_list(request(), reply.json)
        eventually(lambda: live.series("rerank_in_flight") == 0)
        eventually(lambda: live.series("rerank_overloaded") == 0)
        for _ in range(5):
            assert live.post(request()).status == 200
        shed = sum(reply.status == 503 for reply in replies)
        assert live.series("rerank_rejected_total", reason="shed") == shed
        assert len(live.records) == len(replies) + 5
