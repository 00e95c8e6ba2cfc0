"""Servers that take turns: whoever is not measured stands still, and is waited for before it stands still."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from loadtest.rig.contender import Contender, Endpoint, Place, arena, free_port, serving
from loadtest.rig.goodput import Rules
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.openloop.window import status_200
from loadtest.rig.server import CpuSplit

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))

SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"degraded":null,"timings_ms":{"infer":0.5}}'
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer.request_queue_size = 512
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def plain(name: str) -> Contender:
    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        port = free_port()
        command = [sys.executable, "-c", SERVER, str(port)]
        with serving(command, cpus=cpus, port=port, path="/", ready="/") as endpoint:
            yield endpoint

    return Contender(name, start, is_full=status_200)


def stands_still(place: Place) -> bool:
    """Whether it is stopped, or is so within a minute: a signal takes effect when the process next runs."""
    deadline = time.monotonic() + 60
    while (still := _state(place) == "T") is False and time.monotonic() < deadline:
        time.sleep(0.01)
    return still


def _state(place: Place) -> str:
    stat = Path(f"/proc/{place.endpoint.pid}/stat").read_text("ascii")
    return stat[stat.rindex(")") + 2]


@pytest.mark.long
def test_only_the_one_that_is_measured_runs_and_all_end() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with arena([plain("a"), plain("b")], [b"{}"], CpuSplit((cpus[0],), (cpus[-1],))) as (a, b):
        assert (a.name, b.name) == ("a", "b")
        assert stands_still(a)
        assert stands_still(b)
        with a.awake():
            assert stands_still(b)
            window = a.closed(2, 0.3, 0.1)
            trial = a.trial(50, 0.4, 0.1, Rules(budget_ms=5000))
        assert stands_still(a)
        pids = [a.endpoint.pid, b.endpoint.pid]
    assert window.statuses().keys() == {200}
    assert (trial.kept, trial.requests, trial.errors) == (True, 20, 0)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "a stopped server still gets its signal to end"


def test_a_busy_server_is_waited_for() -> None:
    busy = "import time\nend = time.monotonic() + 0.8\nwhile time.monotonic() < end: pass\ntime.sleep(60)"

    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:  # noqa: ARG001 - any will do
        with subprocess.Popen([sys.executable, "-c", busy], start_new_session=True) as process:
            yield Endpoint(1, process.pid, "/")
            process.kill()

    contender = Contender("busy", start)
    with contender.start(()) as endpoint:
        started = time.monotonic()
        Place(contender, endpoint, [], 0).settle()
        assert time.monotonic() - started > 0.5


def test_a_process_that_ends_while_memory_is_measured_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    of_this = psutil.Process().memory_full_info()

    def measured(process: psutil.Process) -> object:
        if process.pid != os.getpid():
            raise psutil.NoSuchProcess(process.pid)
        return of_this

    monkeypatch.setattr(psutil.Process, "memory_full_info", measured)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE):
        endpoint = Endpoint(1, os.getpid())
        assert len(endpoint.processes()) > 1
        assert endpoint.memory().processes == 1
