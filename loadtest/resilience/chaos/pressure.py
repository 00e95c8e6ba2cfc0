"""Hold what a server has little of: connections, unfinished requests, its event loop."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from loadtest.resilience.chaos.harness import UNSHED, demo_folder, payloads, serve, wait
from loadtest.resilience.chaos.scenario import Scenario, Trial
from loadtest.resilience.chaos.steady import REFUSED
from loadtest.resilience.chaos.watch import LIVE, LoopProbe
from loadtest.resilience.chaos.wire import Wire, ask, head
from loadtest.rig.client import post_message
from loadtest.rig.server import STOP_TIMEOUT, started
from models.contract.serving import RERANK_PATH

STALL_MS: Final = 50.0
SCRAPE_MS: Final = 20.0
PROBE_MS: Final = 10.0
"""Time of the probe's own request on a busy machine, which the limits above do not count."""

_MIB: Final = 2**20


@contextlib.contextmanager
def _open(port: int, n: int, data: bytes) -> Iterator[list[Wire]]:
    """Hold `n` connections, each with `data` sent."""
    wires: list[Wire] = []
    try:
        for _ in range(n):
            with contextlib.suppress(OSError):
                wires.append(Wire(port, 3.0))
                wires[-1].send(data)
        yield wires
    finally:
        for wire in wires:
            wire.socket.close()


def slow_bodies(trial: Trial) -> None:
    """Send 64 heads with one byte of a body each."""
    begin = head("POST", RERANK_PATH, "Content-Type: application/json", "Content-Length: 1000") + b"{"
    with serve(trial, *UNSHED) as service:
        service.fault()
        with _open(service.port, 64, begin) as wires:
            found = [service.rerank()[0] for _ in range(10)]
            trial.equal("good requests meanwhile", [200] * 10, found)
            time.sleep(2)
            trial.one_of("what becomes of them", (408, 503), wires[0].reply().status)
    trial.equal("good requests refused", 0, trial.saw[REFUSED])


def slow_heads(trial: Trial) -> None:
    """Hold 64 connections with half a head, fed by a byte a second."""
    with serve(trial, *UNSHED, "--read-timeout-seconds", "3") as service:
        service.fault()
        with _open(service.port, 64, b"POST /v1/rerank HTTP/1.1\r\nX-") as wires:
            for _ in range(3):
                time.sleep(1)
                for wire in wires:
                    wire.send(b"a")
            closed = sum(wire.closed_within(4) for wire in wires)
        trial.equal("connections closed", len(wires), closed)
    trial.equal("good requests refused", 0, trial.saw[REFUSED])


def unfinished_bodies(trial: Trial) -> None:
    """Send 60 bodies of 2 MiB without their last byte: 120 MiB."""
    size = 2 * _MIB
    begin = head("POST", RERANK_PATH, "Content-Type: application/json", f"Content-Length: {size}")
    with serve(trial) as service:
        service.fault()
        with _open(service.port, 60, begin + b'"' * (size - 1)):
            found = [service.rerank()[0] for _ in range(5)]
            trial.expect("a good request meanwhile", "200 or 503", found, set(found) <= {200, 503})
        service.until("answered afterwards", lambda: service.rerank()[0] == 200, 10)


def too_many_connections(trial: Trial) -> None:
    """Open 150 connections to a service that takes 100."""
    with serve(trial, "--max-connections", "100") as service:
        service.fault()
        with _open(service.port, 150, b"") as wires:
            time.sleep(0.5)
            wires[-1].send(LIVE)
            trial.equal("the last of 150", 503, wires[-1].reply().status)
            wires[0].send(LIVE)
            trial.equal("the first of 150", 200, wires[0].reply().status)
            counted = service.metric("rerank_connections_refused_total")
            trial.expect("refused connections counted", "≥ 50", counted, (counted or 0) >= 50)
        service.until("a new connection afterwards", lambda: ask(service.port, LIVE).status == 200, 5)


def big_documents() -> dict[str, bytes]:
    """Make the bodies that take a JSON reader longest, all below 3.6 MB."""
    good = json.loads(payloads(count=1)[0].body)
    candidate = json.dumps(good["candidates"][0]).encode()
    features, fewer = (b"{" + b",".join(b'"%x":1' % n for n in range(many)) + b"}" for many in (300_000, 190_000))
    return {
        "300,000 fields": b'{"candidates":[{"id":"a","features":' + features + b"}]}",
        "190,000 fields": b'{"candidates":[{"id":"a","features":' + fewer + b"}]}",
        "190,000 unknown fields": fewer,
        "NaN at the end": b'{"candidates":[' + b",".join([candidate] * 25_000) + b',{"id":NaN}]}',
        "below the limit, NaN at the end": b'{"candidates":[' + b",".join([candidate] * 14_500) + b',{"id":NaN}]}',
        "1,000,000 numbers": b'{"candidates":[' + b"1," * 1_000_000 + b"1]}",
        "a depth of 500,000": b"[" * 500_000 + b"]" * 500_000,
        "one string of 1.9 MB": b'{"request_id":"' + b"\\u00e9" * 320_000 + b'"}',
        "2,000 candidates": json.dumps({**good, "candidates": _many(good, 2000)}).encode(),
    }


def _send(port: int, message: bytes, statuses: set[int]) -> None:
    """Send one request and add its status."""
    statuses.add(ask(port, message, timeout=20).status)


def _many(good: dict[str, Any], n: int) -> list[dict[str, Any]]:
    return [{**good["candidates"][k % len(good["candidates"])], "id": f"item-{k}"} for k in range(n)]


def big_json(trial: Trial) -> None:
    """Send bodies that are slow to read, and watch the event loop."""
    with serve(trial, rate=5.0) as service:
        service.fault()
        probe = LoopProbe(service.port)
        quiet = probe.stall_ms(lambda: time.sleep(0.2), 3)
        trial.notes.append(f"the probe's longest answer without a fault: {quiet:.1f} ms")
        for name, body in big_documents().items():
            message = post_message(body)
            statuses: set[int] = set()
            stall = probe.stall_ms(partial(_send, service.port, message, statuses))
            trial.at_most(f"{name}: longest pause of the event loop", STALL_MS + PROBE_MS, stall, " ms")
            trial.expect(f"{name}: status", "200, 400, 413 or 422", statuses, statuses <= {200, 400, 413, 422})


def scrapes(trial: Trial) -> None:
    """Scrape while the event loop is watched, in one process and in two workers."""
    for workers in (1, 2):
        inner = trial.scratch / str(workers)
        inner.mkdir()
        with serve(trial, bundles=demo_folder(inner / "bundles"), workers=workers, rate=5.0) as service:
            service.fault()
            scrape = head("GET", "/metrics")
            stall = LoopProbe(service.port).stall_ms(partial(ask, service.port, scrape), 10)
            name = f"longest pause by a scrape, {workers} process{'es' if workers > 1 else ''}"
            trial.at_most(name, SCRAPE_MS + PROBE_MS, stall, " ms")


def unix_socket(trial: Trial) -> None:
    """Serve on a Unix socket, over the rest of a dead service's."""
    path = Path(f"/tmp/listwright-chaos-{trial.rng.randrange(10**9)}.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    folder = demo_folder(trial.scratch / "bundles")
    command = (sys.executable, "-m", "models.cli", "serve", "--uds", str(path), "--admin-port", "0")
    out = trial.scratch / "out"
    try:
        with started((*command, "--bundles", str(folder)), out, None, cpus=(), environment=None) as process:
            message = post_message(payloads(count=1)[0].body)
            seconds = wait(lambda: process.poll() is not None or _answers(path, message), 60)
            trial.expect("it answers there", "a list", f"after {seconds:.1f} s", _answers(path, message))
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            trial.equal("exit status", 0, process.poll())
            trial.equal("the socket is gone afterwards", False, path.exists())
    finally:
        path.unlink(missing_ok=True)


def _answers(path: Path, message: bytes) -> bool:
    try:
        return ask(str(path), message).status == 200
    except OSError:
        return False


SCENARIOS: Final = (
    Scenario(
        name="slow-bodies",
        row=6,
        fault="bodies that never come",
        how="64 heads with one byte of a body",
        right="they hold no place: no good request is refused; 408 after the time limit",
        act=slow_bodies,
    ),
    Scenario(
        name="slow-heads",
        row=0,
        fault="heads that never end",
        how="64 connections, a byte a second",
        right="closed after the time limit; no good request is refused",
        act=slow_heads,
    ),
    Scenario(
        name="unfinished-bodies",
        row=6,
        fault="120 MiB of unfinished bodies",
        how="60 bodies of 2 MiB without their last byte",
        right="at most the stated budget is held, 503 beyond it",
        act=unfinished_bodies,
    ),
    Scenario(
        name="connections",
        row=16,
        fault="too many connections",
        how="150 to a service with `--max-connections 100`",
        right="503 beyond the limit, counted; open ones go on",
        act=too_many_connections,
        quick=True,
    ),
    Scenario(
        name="big-json",
        row=7,
        fault="JSON that is slow to read",
        how="300,000 fields, NaN at the end of 3.5 MB, a depth of 500,000, 2,000 candidates; a probe of the event loop",
        right="422, 400 or 413; the event loop never pauses for over 50 ms",
        act=big_json,
    ),
    Scenario(
        name="scrape",
        row=4,
        fault="a scrape",
        how="`GET /metrics`, one process and two workers; a probe of the event loop",
        right="the event loop pauses for at most 20 ms",
        act=scrapes,
    ),
    Scenario(
        name="unix-socket",
        row=16,
        fault="a Unix socket that a dead service left",
        how="`--uds` over it",
        right="served there; gone after a clean stop",
        act=unix_socket,
    ),
)
