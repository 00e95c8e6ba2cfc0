"""What a head must say of the host and of where its body ends; anything unclear ends the connection."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import Live, fake_model, live_app
from tests.service.raw import connected, post
from tests.service.requests import check_list, request

BODY = json.dumps(request()).encode()
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as server:
        yield server


def whole(fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    start = b"POST /v1/rerank HTTP/%b\r\nContent-Type: application/json\r\n" % version
    return start + fields + b"\r\n" + body


def check_refused(live: Live, raw: bytes, status: int, slug: str) -> None:
    """It is refused, and what follows is not read."""
    with connected(live.port) as client:
        client.send(raw + post(request()))
        reply = client.answer()
        assert_problem(reply, status, slug)
        assert reply.headers["connection"] == "close"
        assert client.read() is None


LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host: x\r\nHost: x\r\n",
        b"Host: x\r\nHost: y\r\n",
        b"Host:\r\n",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: a@b\r\n",
        b"Host: a:b\r\n",
        b"Host: [::1\r\n",
        b"Host: a,b?\r\n",
        b"Host: a%2\r\n",
        "Host: bücher\r\n".encode(),
    ],
)
def test_a_host_that_is_missing_doubled_or_invalid_is_400(live: Live, host: bytes) -> None:
    check_refused(live, whole(host + LENGTH, BODY), 400, "malformed-http")


@pytest.mark.parametrize(
    "host", [b"x", b"x:", b"x:80", b"a_b.example.", b"127.0.0.1:8000", b"[::1]:8000", b"[fe80::1%25eth0]", b"a%2Fb"]
)
def test_a_valid_host_is_taken(live: Live, host: bytes) -> None:
    with connected(live.port) as client:
        client.send(whole(b"hOsT: " + host + b"\r\n" + LENGTH, BODY))
        check_list(request(), client.answer().json)


def test_http_1_0_needs_no_host_but_at_most_one(live: Live) -> None:
    with connected(live.port) as client:
        client.send(whole(LENGTH, BODY, b"1.0"))
        check_list(request(), client.answer().json)
    check_refused(live, whole(b"Host: x\r\nHost: x\r\n" + LENGTH, BODY, b"1.0"), 400, "malformed-http")


def test_http_1_0_gets_no_answer_before_the_last(live: Live) -> None:
    with connected(live.port) as client:
        client.send(whole(b"Expect: 100-continue\r\n" + LENGTH, version=b"1.0"))
        client.send(BODY)
        check_list(request(), client.answer().json)


def test_other_versions_are_400(live: Live) -> None:
    for raw in (
        b"GET /v2/health/live\r\n\r\n",
        whole(b"Host: x\r\n", version=b"2.0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        check_refused(live, raw, 400, "malformed-http")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"identity", b"xchunked", b"chunked;q=1"])
def test_another_transfer_coding_is_501(live: Live, coding: bytes) -> None:
    check_refused(live, whole(b"Host: x\r\nTransfer-Encoding: %b\r\n" % coding, CHUNKS), 501, "not-implemented")


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n" + LENGTH,
        LENGTH + b"Transfer-Encoding: chunked\r\n",
        LENGTH + LENGTH,
        LENGTH + b"Content-Length: 1\r\n",
        b"Content-Length: %d, %d\r\n" % (len(BODY), len(BODY)),
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
    ],
)
@pytest.mark.parametrize("more", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"], ids=["", "upgrade"])
def test_framing_that_could_be_read_in_two_ways_is_400(live: Live, fields: bytes, more: bytes) -> None:
    check_refused(live, whole(b"Host: x\r\n" + more + fields, CHUNKS), 400, "malformed-http")


def test_chunks_in_http_1_0_are_400(live: Live) -> None:
    raw = whole(b"Host: x\r\nTransfer-Encoding: chunked\r\n", CHUNKS, b"1.0")
    check_refused(live, raw, 400, "malformed-http")


@pytest.mark.parametrize("coding", [b"identity", b"IDENTITY", b" Identity ", b""])
def test_a_content_coding_of_identity_is_none(live: Live, coding: bytes) -> None:
    with connected(live.port) as client:
        client.send(whole(b"Host: x\r\nContent-Encoding: %b\r\n" % coding + LENGTH, BODY))
        check_list(request(), client.answer().json)


@pytest.mark.parametrize("path", ["/v1/rerank/", "/v2/health/live/", "/v1/models/"])
def test_a_slash_at_the_end_is_another_path_and_redirects_nowhere(live: Live, path: str) -> None:
    reply = live.request("POST", path, BODY, {"Content-Type": "application/json", "Host": "elsewhere"})
    assert_problem(reply, 404, "not-found")
    assert "location" not in reply.headers
