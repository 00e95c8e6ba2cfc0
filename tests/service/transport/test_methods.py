"""HEAD answers as GET without a body, OPTIONS says what a path allows, and other methods get 405; on one connection."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import pytest

from tests.service.contract.documents import admin_port
from tests.service.live import HOST, WAIT_SECONDS, Live, fake_model, live_app
from tests.service.raw import connected
from tests.service.requests import request

READ = "GET, HEAD, OPTIONS"
PAGES = ["/", "/playground", "/pages/base.css", "/docs"]
READ_ONLY = [
    "/v1/models",
    "/v1/models/tiny",
    "/v1/slo",
    "/v2/health/live",
    "/v2/health/ready",
    "/metrics",
    "/openapi.json",
    *PAGES,
]
POSTED = ["/v1/rerank", "/v1/rerank/batch"]
ADMIN = {"/admin/v1/models": READ, "/admin/v1/reload": "OPTIONS, POST", "/docs": READ, "/openapi.json": READ}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model()) as live:
        yield live


@pytest.fixture(scope="module")
def admin() -> Iterator[http.client.HTTPConnection]:
    with (
        admin_port() as port,
        contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=WAIT_SECONDS)) as connection,
    ):
        yield connection


@pytest.mark.parametrize("path", READ_ONLY)
def test_head_has_the_length_of_get_and_no_body(live: Live, path: str) -> None:
    want = live.get(path)
    with connected(live.port) as client:
        client.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = client._until(b"\r\n\r\n")
        assert head is not None
        lines = head.decode().lower().split("\r\n")
        assert lines[0].startswith("http/1.1 200")
        assert f"content-type: {want.headers['content-type']}".lower() in lines
        length = next(int(line.partition(": ")[2]) for line in lines if line.startswith("content-length"))
        if path not in ("/metrics", "/v1/slo"):  # Those change from one request to the next.
            assert length == len(want.body)
        # The next answer follows at once, so there was no body, and the connection is kept.
        client.ask(request())
        assert client.answer().status == 200


@pytest.mark.parametrize(
    ("path", "allowed"), [*((p, READ) for p in READ_ONLY), *((p, "OPTIONS, POST") for p in POSTED)]
)
def test_options_says_what_is_allowed_and_nothing_of_other_origins(live: Live, path: str, allowed: str) -> None:
    with connected(live.port) as client:
        client.send(f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: http://other.example\r\n\r\n".encode())
        reply = client.answer()
        assert (reply.status, reply.headers["allow"], reply.body) == (204, allowed, b"")
        assert "content-length" not in reply.headers
        assert not [name for name in reply.headers if name.startswith("access-control-")]
        client.ask(request())
        assert client.answer().status == 200


def test_options_of_the_whole_service(live: Live) -> None:
    with connected(live.port) as client:
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = client.answer()
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, path) for path in POSTED for method in ("GET", "HEAD")),
        ("POST", "/v1/models"),
        ("PUT", "/v1/models/tiny"),
    ],
)
def test_another_method_is_405_and_told_the_right_ones(live: Live, method: str, path: str) -> None:
    reply = live.request(method, path)
    assert reply.status == 405
    assert reply.headers["allow"] == ("OPTIONS, POST" if path in POSTED else READ)
    if method == "HEAD":
        assert reply.body == b""
    else:
        assert reply.json["type"] == "urn:listwright:problem:method-not-allowed"
        assert reply.json["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PATCH"])
def test_no_method_finds_a_path_that_is_not_there(live: Live, method: str) -> None:
    assert live.request(method, "/v1/rerank/").status == 404


@pytest.mark.parametrize("path", ADMIN)
def test_the_admin_port_does_the_same(admin: http.client.HTTPConnection, path: str) -> None:
    for method, status in {"OPTIONS": 204, "PUT": 405}.items():
        admin.request(method, path)
        reply = admin.getresponse()
        reply.read()
        assert (reply.status, reply.getheader("allow")) == (status, ADMIN[path])
    if "GET" in ADMIN[path]:
        admin.request("HEAD", path)
        reply = admin.getresponse()
        assert (reply.status, reply.read()) == (200, b"")
        assert int(reply.getheader("content-length", "0")) > 0


def test_head_needs_a_key_where_get_does_and_options_needs_none() -> None:
    with live_app(fake_model(), api_keys="secret") as live:
        assert live.request("HEAD", "/v1/models").status == 401
        assert live.request("OPTIONS", "/v1/models").status == 204
        assert live.request("HEAD", "/v1/models", headers={"authorization": "Bearer secret"}).status == 200
