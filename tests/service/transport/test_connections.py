"""How many connections there may be, what happens beyond, how long an idle one lives, and the Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import resource
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.settings import SettingsError
from service.transport import connections as connections_module
from service.transport import limits as limits_module
from service.transport.connections import Connections
from service.transport.limits import Limits, raise_descriptor_limit
from service.transport.sockets import bind_sockets, stop_connecting, take_all
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, Live, fake_model, live_app, make_settings
from tests.service.raw import Connection, connected, connections
from tests.service.requests import check_list, request
from tests.service.test_process import SERVE, environment
from tests.service.transport.test_transport import eventually

GET = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def refused(live: Live, reason: str) -> float | None:
    return live.series("rerank_connections_refused_total", reason=reason)


def turned_away(client: Connection) -> None:
    reply = client.answer()
    assert_problem(reply, 503, "overloaded")
    assert (reply.headers["connection"], reply.headers["retry-after"]) == ("close", "1")
    assert client.read() is None


def test_one_connection_too_many_is_told_so_and_a_place_that_is_free_again_is_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with live_app(fake_model(), max_connections=2) as live:
        with connections(live.port, 2) as clients:
            for client in clients:
                client.send(GET)
                assert client.answer().status == 200
            assert live.series("rerank_connections") == 2
            for _ in range(3):
                with connected(live.port) as late:
                    late.send(GET)
                    turned_away(late)
            clients[0].ask(request())
            check_list(request(), clients[0].answer().json)
        eventually(lambda: live.series("rerank_connections") == 0)
        with connected(live.port) as client:
            client.send(GET)
            assert client.answer().status == 200
        assert refused(live, "limit") == 3
        assert refused(live, "descriptors") == refused(live, "unfinished") == 0
    logged = [r.getMessage() for r in caplog.records if r.name == connections_module.__name__]
    assert logged == ["1 connections refused or ended: limit 1"], "one line a minute"


def test_the_line_after_a_minute_has_the_number_since_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    monkeypatch.setattr(connections_module, "monotonic", lambda: now[0])
    counts = Connections(Limits.of(make_settings(max_connections=1)))
    for _ in range(5):
        counts.refuse("limit")
    counts.refuse("unfinished")
    counts.report()
    now[0] += 61
    counts.report()
    counts.report()
    assert [r.getMessage() for r in caplog.records] == [
        "1 connections refused or ended: limit 1",
        "5 connections refused or ended: limit 4, unfinished 1",
    ]


def test_near_the_end_of_descriptors_connections_are_refused_before_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the process has open is the least that it can get, so the limit is put there."""
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    limit = highest + 60
    monkeypatch.setattr("service.transport.listener.raise_descriptor_limit", lambda _: limit)
    with contextlib.ExitStack() as filled:
        # Other tests leave gaps among the numbers, which would hide how near the end the process is.
        while filled.enter_context(socket.socket()).fileno() < highest:
            pass
        live = filled.enter_context(live_app(fake_model()))
        client = filled.enter_context(connected(live.port))
        turned_away(client)
        assert refused(live, "descriptors") == 1
        assert live.series("rerank_connections") == 0


@pytest.fixture
def soft_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("soft_limit")
def test_the_soft_limit_is_raised_as_far_as_the_connections_need_it(caplog: pytest.LogCaptureFixture) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    raised = raise_descriptor_limit(100)
    assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 100 < raised < 1000
    assert raise_descriptor_limit(10) == raised, "it is never lowered"
    assert not caplog.records


def test_a_hard_limit_that_is_too_low_is_a_warning_with_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_to: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    assert raise_descriptor_limit(4096) == 1024
    assert set_to == [(1024, 1024)]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "LISTWRIGHT_MAX_CONNECTIONS (--max-connections) is 4096" in record.getMessage()
    assert record.name == limits_module.__name__


def test_the_admin_listener_takes_fewer_connections() -> None:
    assert Limits.of(make_settings()).connections == 4096
    assert Limits.of(make_settings(), admin=True).connections == 256
    assert Limits.of(make_settings(max_connections=5), admin=True).connections == 5


@pytest.mark.parametrize(("seconds", "lives"), [(0.3, False), (60.0, True)])
def test_an_idle_connection_lives_for_as_long_as_the_setting_says(seconds: float, lives: bool) -> None:
    with live_app(fake_model(), keep_alive_seconds=seconds) as live, connected(live.port) as client:
        client.ask(request())
        assert client.answer().status == 200
        client.sock.settimeout(1.0 if lives else WAIT_SECONDS)
        if lives:
            with pytest.raises(TimeoutError):
                client.read()
        else:
            assert client.read() is None


def test_the_last_port_leaves_none_for_the_admin_listener() -> None:
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_ADMIN_PORT \(--admin-port\): .* 65535"):
        bind_sockets(make_settings(port=65535))


class UnixConnection(http.client.HTTPConnection):
    """Speaks HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_SECONDS)
        self.sock.connect(str(self.path))


def ask(path: Path, target: str, body: object = None) -> tuple[int, Any]:
    connection = UnixConnection(path)
    method, raw = ("GET", None) if body is None else ("POST", json.dumps(body))
    try:
        connection.request(method, target, raw, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def short() -> Iterator[Path]:
    """A path that is short enough for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="lw") as folder:
        yield Path(folder) / "s"


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_on_a_unix_socket_and_removes_it_at_the_end(bundle: Path, short: Path, workers: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short))  # What a server that was killed leaves behind.
    flags = ["--bundles", str(bundle.parents[1]), "--uds", str(short), "--admin-port", "0", "--workers", workers]
    with subprocess.Popen(
        [*SERVE, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as popen:
        try:
            assert popen.stdout is not None
            line = json.loads(popen.stdout.readline())
            assert line["uds"] == str(short)
            assert "port" not in line
            deadline = time.monotonic() + WAIT_SECONDS
            while ask(short, "/v2/health/ready")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            status, answer = ask(short, "/v1/rerank", request())
            assert status == 200
            check_list(request(), answer)
            assert stat.S_ISSOCK(short.stat().st_mode)
            with pytest.raises(SettingsError, match=r"LISTWRIGHT_UDS \(--uds\): .*another process listens"):
                bind_sockets(make_settings(uds=short, admin_port=0))
            assert ask(short, "/v2/health/live")[0] == 200
            popen.terminate()
            assert popen.wait(WAIT_SECONDS) == 0
        finally:
            popen.kill()
    assert not short.exists()


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_though_nobody_can_be_told_where(bundle: Path, short: Path, workers: str) -> None:
    """A full disk behind stdout."""
    flags = ["--bundles", str(bundle.parents[1]), "--uds", str(short), "--admin-port", "0", "--workers", workers]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen([*SERVE, *flags], stdout=full, stderr=subprocess.PIPE, text=True, env=environment()) as popen,
    ):
        try:
            assert popen.stderr is not None
            line = next(line for line in popen.stderr if "cannot print to stdout" in line)
            assert "No space left on device" in line
            assert str(short) in line
            assert ask(short, "/v2/health/live")[0] == 200
            popen.terminate()
            rest = popen.stderr.read()
            assert popen.wait(WAIT_SECONDS) == 0
        finally:
            popen.kill()
    assert "Traceback" not in rest
    assert "Exception ignored" not in rest


@pytest.mark.parametrize("host", ["8.8.8.8", "no..name", "n" * 64])
def test_an_address_that_is_not_ours_names_the_settings_of_host_and_port(host: str) -> None:
    public = r"LISTWRIGHT_HOST \(--host\) or LISTWRIGHT_PORT \(--port\): cannot listen on "
    with pytest.raises(SettingsError, match=f"^{public}{host}:0: "):
        bind_sockets(make_settings(host=host, port=0))
    admin = r"LISTWRIGHT_ADMIN_HOST \(--admin-host\) or LISTWRIGHT_ADMIN_PORT \(--admin-port\): cannot listen on "
    with pytest.raises(SettingsError, match=f"^{admin}{host}:0: "):
        bind_sockets(make_settings(port=0, admin_host=host))


def test_an_admin_port_that_is_taken_leaves_no_file_behind(short: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="LISTWRIGHT_ADMIN_PORT"),
    ):
        bind_sockets(make_settings(uds=short, admin_port=taken.getsockname()[1]))
    assert not short.exists()


def test_a_file_that_is_no_socket_is_left_alone(short: Path) -> None:
    short.write_text("precious")
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_UDS \(--uds\): .*not a socket"):
        bind_sockets(make_settings(uds=short, admin_port=0))
    assert short.read_text() == "precious"


def test_its_file_is_gone_as_soon_as_it_stops_and_who_has_connected_is_let_in(short: Path) -> None:
    sockets = bind_sockets(make_settings(uds=short, admin_port=0))
    with sockets.public, sockets.admin, socket.socket(socket.AF_UNIX) as early:
        early.connect(str(short))
        stop_connecting(sockets.public)
        assert not short.exists()
        (taken,) = take_all(sockets.public, 10)
        with taken:
            early.sendall(b"still here")
            assert taken.recv(100) == b"still here"
