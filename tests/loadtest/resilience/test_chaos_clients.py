"""The clients of the chaos runner against servers whose every answer a test scripts, and its clock."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Final

import pytest

from loadtest.requests.payloads import Payload
from loadtest.resilience.chaos.clock import Clock
from loadtest.resilience.chaos.scenario import Skipped
from loadtest.resilience.chaos.steady import Seen, SteadyClient
from loadtest.resilience.chaos.watch import LIVE, LoopProbe
from loadtest.resilience.chaos.wire import CLOSED, SILENT, Wire, ask, head
from loadtest.rig.contender import free_port
from tests.loadtest.scripted import DEGRADED_BODY, Reply, Script, always, scripted_server

NO_CANDIDATES: Final = Payload(b"{}", (), 0)
PATIENCE: Final = 30.0


def requests_seen(script: Script, least: int) -> list[Seen]:
    """Send requests until `least` have a result."""
    with scripted_server(script) as server:
        with SteadyClient(server.port, [NO_CANDIDATES], 200.0) as client:
            wait_for(lambda: len(client.seen) >= least)
        return client.seen


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (Reply(), "full"),
        (Reply(body=DEGRADED_BODY), "degraded"),
        (Reply(body=b'{"items":[{"id":"a","index":0,"position":1}],"degraded":null}'), "wrong list"),
        (Reply(status=503, body=b"{}"), "refused (503)"),
        (Reply(status=500, body=b"{}"), "status 500"),
        (Reply(action="close"), "closed"),
        (Reply(action="reset"), "closed"),
        (Reply(action="cut"), "cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_way_to_answer_has_its_result(reply: Reply, result: str) -> None:
    assert {s.result for s in requests_seen(lambda _: reply, 3)} == {result}


def test_connections_are_used_again_and_a_closed_one_is_not() -> None:
    with scripted_server(always) as server:
        with SteadyClient(server.port, [NO_CANDIDATES], 100.0) as client:
            wait_for(lambda: len(client.seen) >= 20)
        assert server.connections < 20
    seen = requests_seen(lambda _: Reply(headers=("Connection: close",), action="answer and close"), 10)
    assert {s.result for s in seen} == {"full"}
    assert len({s.port for s in seen}) == len(seen)


def test_a_connection_that_closes_unannounced_is_met_once_at_most() -> None:
    """No client knows of it before it has come, and this one never sends a request twice, so it says `closed`."""

    def results(client: SteadyClient) -> list[list[str]]:
        ports = dict.fromkeys(s.port for s in client.seen)
        return [[s.result for s in client.seen if s.port == port] for port in ports]

    def mostly_noticed(client: SteadyClient) -> bool:
        noticed = results(client)[:-1].count(["full"])
        return noticed >= 5 and noticed > 2 * len(results(client)) / 3

    with scripted_server(lambda _: Reply(action="answer and close")) as server:
        with SteadyClient(server.port, [NO_CANDIDATES], 50.0) as client:
            # Mostly the close comes before the next request is due.
            wait_for(lambda: mostly_noticed(client))
        assert all(found in (["full"], ["full", "closed"]) for found in results(client))


def test_a_server_that_is_not_there_makes_no_connection() -> None:
    with SteadyClient(free_port(), [NO_CANDIDATES], 200.0) as client:
        wait_for(lambda: len(client.seen) >= 3)
    assert {(s.result, s.port) for s in client.seen} == {("no connection", 0)}


def test_raw_bytes_are_answered_or_not() -> None:
    message = head("POST", "/", "Content-Length: 2")
    assert message.startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert head("GET", "/", host="") == b"GET / HTTP/1.1\r\n\r\n"
    with scripted_server(lambda n: (Reply(status=204, body=b""), Reply(action="cut"))[n]) as server:
        assert ask(server.port, message, b"{}").status == 204
        assert ask(server.port, message, b"{}").status == CLOSED
        assert ask(server.port, message, b"{", timeout=0.1).status == SILENT
    with scripted_server(always) as server, Wire(server.port) as wire:
        for _ in range(2):
            assert wire.send(message + b"{}")
            assert wire.reply().status == 200
        assert not wire.closed_within(0.05)
        server.stop()
        assert wire.closed_within(PATIENCE)


@contextlib.contextmanager
def pinged(pauses: list[float]) -> Iterator[int]:
    """Answer pings on one connection after another; each of the `pauses` (seconds) stops the server once."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError), listener.accept()[0] as connection:
                while connection.recv(len(LIVE)):
                    if pauses:
                        time.sleep(pauses.pop())
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_a_pause_that_comes_with_every_request_is_found_and_a_single_one_is_not() -> None:
    pauses: list[float] = []
    with pinged(pauses) as port:
        assert LoopProbe(port).stall_ms(lambda: pauses.append(0.3), 3) >= 300
        single = [0.3]
        assert LoopProbe(port).longest_ms(lambda: pauses.extend(single)) >= 300
        assert LoopProbe(port).stall_ms(lambda: pauses.extend(single.pop() for _ in single[:1]), 5) < 300


def test_the_wall_clock_of_a_program_moves_while_it_runs_and_no_other_clock_does(tmp_path: Path) -> None:
    try:
        clock = Clock(tmp_path)
    except Skipped as reason:
        pytest.skip(str(reason))
    tell = "import time\nwhile input():\n    time.sleep(0.01)\n    print(time.time(), time.monotonic(), flush=True)"
    command, environment = [sys.executable, "-c", tell], {**os.environ, **clock.environment}
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, bufsize=1, env=environment) as program:
        assert program.stdin is not None
        assert program.stdout is not None

        def clocks() -> tuple[float, float]:
            program.stdin.write("now\n")  # type: ignore[union-attr]
            wall, monotonic = map(float, program.stdout.readline().split())  # type: ignore[union-attr]
            return wall - time.time(), monotonic - time.monotonic()

        for days in (0, 1, -1):
            clock.move(days * 86_400)
            wait_for(lambda: round(clocks()[0] / 86_400) == days)  # noqa: B023
            assert abs(clocks()[1]) < 3600
        program.stdin.write("\n")
