"""The admin listener: only under its own hosts, and with the limits of the public one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from service.admin import admin_app
from service.status import Models, ModelStatus
from service.transport.bounds import is_allowed
from tests.service.contract.documents import NO_CATALOGUES, NO_SCENES
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import Reply, listening, make_settings
from tests.service.raw import Connection, connected, connections
from tests.service.transport.test_transport import eventually

SETTINGS = {"admin_hosts": "ops.example", "max_body_bytes": 2048, "max_in_flight": 2, "read_timeout_seconds": 0.5}


class Desk:
    """Stands behind the app; `hold` keeps every answer waiting."""

    def __init__(self) -> None:
        self.hold = False
        self.asked = 0

    async def models(self) -> Models:
        self.asked += 1
        while self.hold:
            await asyncio.sleep(0.005)
        return Models(models=[])

    async def reload(self, name: str, version: str | None) -> ModelStatus:
        raise AssertionError(f"no test gets here: {name} {version}")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def port(desk: Desk) -> Iterator[int]:
    settings = make_settings(**SETTINGS)
    with listening(admin_app(settings, desk.models, desk.reload, NO_SCENES, NO_CATALOGUES), settings) as found:
        yield found


def get(host: str = "localhost") -> bytes:
    return f"GET /admin/v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def order(length: int, body: bytes = b"", more: str = "", host: str = "localhost") -> bytes:
    fields = f"Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}"
    return f"POST /admin/v1/reload HTTP/1.1\r\n{fields}\r\n".encode() + body


def answer(port: int, raw: bytes) -> Reply:
    with connected(port) as client:
        client.send(raw)
        return client.answer()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8001", "127.0.0.1", "127.1.2.3:1", "[::1]:8001", "ops.example."]
)
def test_it_answers_under_its_own_names(port: int, host: str) -> None:
    assert answer(port, get(host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "192.0.2.1", "[2001:db8::1]", "127.0.0.1.evil"]
)
def test_another_host_is_421(port: int, desk: Desk, host: str) -> None:
    assert_problem(answer(port, get(host)), 421, "misdirected-request", text="LISTWRIGHT_ADMIN_HOSTS")
    body = b'{"model": "a"}'
    assert_problem(answer(port, order(len(body), body, host=host)), 421, "misdirected-request")
    assert not desk.asked


def test_the_address_of_the_socket_itself_is_allowed() -> None:
    names: Mapping[str, Any] = {}
    assert is_allowed("192.0.2.7:8001", names, "192.0.2.7")
    assert is_allowed("[2001:db8::7]", names, "2001:db8:0::7")
    assert not is_allowed("192.0.2.8", names, "192.0.2.7")
    assert not is_allowed("192.0.2.7", names, None)


def test_a_body_over_the_limit_is_413(port: int) -> None:
    assert_problem(answer(port, order(2049, b" " * 2049)), 413, "body-too-large")
    assert_problem(answer(port, order(10**9)), 413, "body-too-large")
    with connected(port) as client:
        client.send(order(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        client.send(b"800\r\n" + b" " * 2048 + b"\r\n1\r\n \r\n0\r\n\r\n")
        assert_problem(client.answer(), 413, "body-too-large")


def test_a_long_name_of_a_wrong_field_is_cut(desk: Desk) -> None:
    settings = make_settings()
    body = json.dumps({"model": "a", "z" * 10_000: 0, **{f"f{n}": 0 for n in range(10_000)}}).encode()
    with listening(admin_app(settings, desk.models, desk.reload, NO_SCENES, NO_CATALOGUES), settings) as roomy:
        reply = answer(roomy, order(len(body), body))
    assert_problem(reply, 422, "invalid-request", "z" * 300)
    assert len(reply.body) < 2_000


def test_a_body_that_does_not_come_is_408(port: int) -> None:
    reply = answer(port, order(10, b"{"))
    assert_problem(reply, 408, "request-timeout")
    assert reply.headers["connection"] == "close"


def test_more_than_the_limit_in_progress_are_503(port: int, desk: Desk) -> None:
    desk.hold = True
    with connections(port, 3) as (first, second, third):
        first.send(get())
        second.send(get())
        eventually(lambda: desk.asked == 2)
        third.send(get())
        reply = third.answer()
        assert_problem(reply, 503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        desk.hold = False
        for client in (first, second, third):
            if client is third:
                client.send(get())
            assert client.answer().status == 200


def test_bodies_in_part_take_no_place(port: int) -> None:
    with connections(port, 4) as slow:
        for client in slow:
            client.send(order(10, b"{"))
        assert answer(port, get()).status == 200


def test_a_slash_at_the_end_redirects_nowhere(port: int) -> None:
    for raw in (get().replace(b"/models ", b"/models/ "), order(2, b"{}").replace(b"/reload ", b"/reload/ ")):
        reply = answer(port, raw)
        assert_problem(reply, 404, "not-found")
        assert "location" not in reply.headers


def test_a_client_that_leaves_in_the_middle_does_no_harm(port: int) -> None:
    client = Connection(port)
    client.send(order(10, b"{"))
    client.reset()
    assert json.loads(answer(port, get()).body) == {"models": []}
