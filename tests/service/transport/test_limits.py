"""What a client can make one connection hold: heads, trailers, chunks, pipelines, and answers that it does not take."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import psutil
import pytest

from service.transport.limits import FIELDS, HEAD_BYTES, PIPELINED
from service.transport.reading import BoundedProtocol
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, fake_model, live_app
from tests.service.raw import Connection, connected, connections, head, post
from tests.service.requests import check_list, request
from tests.service.transport.test_transport import eventually

GET = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = head(None, {"Transfer-Encoding": "chunked"})
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as server:
        yield server
        eventually(lambda: server.series("rerank_unfinished_bytes") == 0)
        eventually(lambda: server.series("rerank_in_flight") == 0)


def get_with(fields: bytes, path: bytes = b"/v2/health/live") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, fields)


def of_size(size: int) -> bytes:
    """A whole head of so many bytes."""
    return get_with(b"A: %b\r\n" % (b"a" * (size - len(get_with(b"A: \r\n")))))


def refused(client: Connection, status: int, slug: str) -> None:
    reply = client.answer()
    assert_problem(reply, status, slug)
    assert reply.headers["connection"] == "close"
    assert client.read() is None


@pytest.mark.parametrize("piece", [10**9, 5000])
def test_a_head_may_have_64_kib_and_no_byte_more(live: Live, piece: int) -> None:
    for size, fits in ((HEAD_BYTES, True), (HEAD_BYTES + 1, False)):
        with connected(live.port) as client:
            whole = of_size(size)
            assert len(whole) == size
            for start in range(0, size, piece):
                client.send(whole[start : start + piece])
            if fits:
                assert client.answer().status == 200
                client.send(whole)
                assert client.answer().status == 200
            else:
                refused(client, 431, "headers-too-large")


def test_a_head_may_have_100_fields_and_none_more(live: Live) -> None:
    for count in (FIELDS, FIELDS + 1):
        with connected(live.port) as client:
            client.send(get_with(b"a: b\r\n" * (count - 1)))
            if count == FIELDS:
                assert client.answer().status == 200
            else:
                refused(client, 431, "headers-too-large")


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: ",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n",
        GET + b"GET / HTTP/1.1\r\nHost: x\r\nA: ",
    ],
)
def test_a_head_without_end_is_refused_as_soon_as_it_is_too_long(live: Live, begun: bytes) -> None:
    """A client that goes on sending hears it, and so hears why."""
    with connected(live.port) as client:
        client.send(begun)
        for _ in range(10):
            client.send(b"a" * 65536)
        if begun.startswith(GET):
            assert client.answer().status == 200
        refused(client, 431, "headers-too-large")


def test_a_request_line_that_is_too_long_is_414(live: Live) -> None:
    for raw in (get_with(b"", b"/" + b"a" * HEAD_BYTES), b"GET /" + b"a" * 200_000):
        with connected(live.port) as client:
            client.send(raw)
            refused(client, 414, "uri-too-long")


def test_blank_lines_have_a_limit_in_bytes_and_in_time() -> None:
    with live_app(fake_model(), read_timeout_seconds=0.3) as live, connections(live.port, 2) as (many, few):
        many.send(b"\r\n" * 100_000)
        refused(many, 431, "headers-too-large")
        few.send(b"\r\n\r\n" + GET)
        assert few.answer().status == 200
        few.send(b"\r\n")  # This ends the time of an idle connection, but no request has begun.
        assert few.read() is None


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\n" + b"a: b\r\n" * 300_000,
        b"0\r\n" + b"a: b\r\n" * (FIELDS + 1) + b"\r\n",
        b"0\r\nA: " + b"a" * 300_000,
        b"1;" + b"x" * 300_000,
        b"".join(b"1;%b\r\na\r\n" % (b"x" * 200) for _ in range(2000)),
    ],
    ids=["trailers", "a trailer too many", "long trailer", "long extension", "many extensions"],
)
def test_what_surrounds_a_chunked_body_is_bounded(live: Live, rest: bytes) -> None:
    with connected(live.port) as client:
        client.send(CHUNKED)
        client.send(rest)
        refused(client, 431, "headers-too-large")


def test_a_body_in_chunks_of_one_byte_is_read(live: Live) -> None:
    body = json.dumps(request(40)).encode()
    with connected(live.port) as client:
        client.send(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nA: b\r\n\r\n")
        check_list(request(40), client.answer().json)


def test_a_body_in_many_chunks_leaves_turns_to_others(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one byte take as long as small requests, and one read may bring a quarter of a megabyte of them."""
    pieces: list[int] = []
    parse = BoundedProtocol._parse

    def counting(protocol: BoundedProtocol, rest: memoryview) -> None:
        before = protocol._body
        parse(protocol, rest)
        pieces.append(protocol._body - before)

    monkeypatch.setattr(BoundedProtocol, "_parse", counting)
    body = json.dumps(request(40)).encode() + b" " * 100_000
    with connected(live.port) as client:
        client.send(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        check_list(request(40), client.answer().json)
    assert max(pieces) <= 65_536 / len(b"1\r\na\r\n") + 1


def test_trailers_are_no_headers(live: Live) -> None:
    raw = json.dumps(request()).encode()
    with connected(live.port) as client:
        client.send(CHUNKED + b"%x\r\n%b\r\n0\r\nX-Request-Id: late\r\n\r\n" % (len(raw), raw))
        assert client.answer().headers["x-request-id"] != "late"


def test_a_long_pipeline_is_answered_in_turns_and_in_order() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        engine.hold.clear()
        count = 10 * PIPELINED
        for n in range(count):
            client.send(post(request(2, request_id=f"r{n}")))
        eventually(lambda: len(engine.batches) == 1)
        engine.hold.set()
        assert [client.answer().json["request_id"] for _ in range(count)] == [f"r{n}" for n in range(count)]


def test_a_pipeline_that_came_at_once_waits_unparsed_and_counts() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine)) as live, connected(live.port) as client:
        client.send(post(request(2)) + GET * 2000)
        eventually(lambda: (live.series("rerank_unfinished_bytes") or 0) > 20_000)
        engine.hold.set()
        assert client.answer().status == 200
        assert [client.answer().status for _ in range(2000)] == [200] * 2000
        eventually(lambda: live.series("rerank_unfinished_bytes") == 0)


def test_a_refused_pipeline_leaves_turns_to_others() -> None:
    """Thousands of refusals from one read would keep the event loop for a second."""
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine), max_in_flight=1) as live, connections(live.port, 3) as (first, many, other):
        first.ask(request())
        eventually(lambda: live.series("rerank_in_flight") == 1)
        refusal = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n\r\n"
        seen: list[int] = []
        live.registry.needs(lambda: seen.append(len(live.records)))  # Counted where the other is answered.
        refused_before: list[int] = []
        # On a busy machine the other may come to send only when all are refused.
        while not refused_before or (refused_before[-1] >= 1000 and len(refused_before) < 20):
            before = len(live.records)
            many.send(refusal * 1000)
            other.send(get_with(b"", b"/v2/health/ready"))
            assert other.answer().status == 200
            refused_before.append(seen[-1] - before)
            assert [many.answer().status for _ in range(1000)] == [503] * 1000
        assert refused_before[-1] < 1000, refused_before
        engine.hold.set()
        assert first.answer().status == 200


def test_a_fault_behind_requests_in_progress_is_answered_after_them() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    faults = (b"no such thing\r\n\r\n", CHUNKED + b"no chunk\r\n", of_size(HEAD_BYTES + 1))
    with live_app(fake_model(engine)) as live:
        for fault in faults:
            engine.hold.clear()
            with connected(live.port) as client:
                client.send(post(request(3)) + post(request(4)) + fault)
                eventually(lambda: live.series("rerank_in_flight") == 1)
                engine.hold.set()
                check_list(request(3), client.answer().json)
                check_list(request(4), client.answer().json)
                assert client.answer().status in (400, 431)
                assert client.read() is None


@pytest.mark.parametrize("before", [b"", post(request(3))], ids=["alone", "in a pipeline"])
@pytest.mark.parametrize("upgrade", ["", "h2c"])
def test_a_faulty_body_that_waits_for_no_go_ahead_is_only_refused(
    before: bytes, upgrade: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request has begun when the fault is found, and its handler must write nothing after the last answer."""
    fields = {"Transfer-Encoding": "chunked", "Expect": "100-continue"}
    fields |= {"Connection": "upgrade", "Upgrade": upgrade} if upgrade else {}
    with live_app(fake_model()) as live, connected(live.port) as client:
        client.send(before + head(None, fields) + b"no chunk\r\n")
        if before:
            check_list(request(3), client.answer().json)
        refused(client, 400, "malformed-http")
        eventually(lambda: live.series("rerank_connections") == 0)
        assert live.get("/v2/health/live").status == 200
        eventually(lambda: len(live.records) == 1)
        assert {record.status for record in live.records} == ({200} if before else {400})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_does_not_take_its_answers_is_cut_off() -> None:
    with live_app(fake_model(), read_timeout_seconds=1) as live, connected(live.port) as client:
        client.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        eventually(lambda: live.series("rerank_connections") == 0)


@pytest.mark.long
def test_one_that_takes_them_slowly_is_not() -> None:
    with live_app(fake_model(), read_timeout_seconds=1) as live, connected(live.port) as client:
        client.sock.settimeout(WAIT_SECONDS)
        client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        for _ in range(400):
            assert client.answer().status == 200
            time.sleep(0.005)


@pytest.mark.long
def test_six_that_never_read_do_not_make_it_grow() -> None:
    """Client and server are one process here; the client's part is small."""
    with live_app(fake_model(), drain_seconds=0) as live, connections(live.port, 6) as clients:
        live.get("/openapi.json")
        before = psutil.Process().memory_info().rss
        end = time.monotonic() + 3
        for client in clients:
            client.sock.setblocking(False)
        while time.monotonic() < end:
            for client in clients:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    client.sock.send(GET * 5000)
            time.sleep(0.001)
        assert psutil.Process().memory_info().rss - before < 20 * MEBIBYTE
