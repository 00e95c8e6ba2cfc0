"""The containers' health check: good only for a 200, soon wrong for all else, and cheap beside a start of Python."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.deploy.files import READY, ROOT
from tests.service.live import HOST, FakeEngine, fake_model, live_app

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")

LIMIT = 30.0
"""Seconds; the check gives up after 2 of them, on a machine that is not busy."""


def _check(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(READY), str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


@contextlib.contextmanager
def _answering(*pieces: bytes, pause: float = 0.0, close: bool = True) -> Iterator[int]:
    """Yield the port of a server that sends these pieces to each connection; without `close` it leaves them open."""
    with socket.create_server((HOST, 0)) as listener, contextlib.ExitStack() as kept:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = kept.enter_context(listener.accept()[0])
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause)
                    if close:
                        connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT)


def test_it_is_a_program_in_the_image_and_in_compose() -> None:
    assert os.access(READY, os.X_OK), "COPY keeps the mode"
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"COPY {READY.relative_to(ROOT)} /usr/local/bin/\n" in dockerfile
    assert f'CMD ["{READY.name}"]' in dockerfile


def test_a_service_that_is_ready_is_healthy() -> None:
    with live_app(fake_model()) as live:
        done = _check(live.port)
    assert (done.returncode, done.stdout) == (0, "HTTP/1.1 200\n")


def test_a_service_that_still_loads_is_not() -> None:
    with live_app(ready=False) as live:
        done = _check(live.port)
    assert (done.returncode, done.stdout) == (1, "HTTP/1.1 503\n")


def test_a_service_whose_engine_is_busy_is_healthy() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    with live_app(fake_model(engine)) as live:
        done = _check(live.port)
        engine.hold.set()
    assert done.returncode == 0


def test_another_path_can_be_asked_for() -> None:
    with live_app(ready=False) as live:
        assert _check(live.port, "/v2/health/live").returncode == 0
        assert _check(live.port, "/nowhere").stdout == "HTTP/1.1 404\n"


def test_nobody_listening_is_not_healthy() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    done = _check(port)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1",),
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 2", b"01 OK\r\n"),
        (b"SSH-2.0-OpenSSH_9.2 200\r\n",),
        (b"\n",),
    ],
)
def test_an_end_or_another_answer_is_not_healthy(pieces: tuple[bytes, ...]) -> None:
    with _answering(*pieces) as port:
        assert _check(port).returncode == 1


def test_a_server_that_says_nothing_is_not_healthy_after_two_seconds() -> None:
    with _answering(close=False) as port:
        began = time.monotonic()
        assert _check(port).returncode == 1
    assert time.monotonic() - began > 1.9


def test_a_server_that_speaks_a_byte_at_a_time_has_the_same_two_seconds() -> None:
    status = [bytes([byte]) for byte in b"HTTP/1.1 200 OK" + b" " * 40]
    with _answering(*status, pause=0.25) as port:
        began = time.monotonic()
        assert _check(port).returncode == 1
    assert time.monotonic() - began < len(status) * 0.25


def test_it_takes_a_small_share_of_the_processor_time_of_a_start_of_python() -> None:
    with live_app(fake_model()) as live:
        own = min(_cpu_seconds(str(READY), str(live.port)) for _ in range(5))
    python = min(_cpu_seconds(sys.executable, "-c", "import urllib.request") for _ in range(3))
    assert own < python / 5


def _cpu_seconds(*command: str) -> float:
    """The processor time of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=LIMIT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
