"""Reloads and stops under load: does any request pay for them? `lifecycle_figures` says what is judged.

One service on a CPU of its own, the client on another, with 70% of the goodput, which is searched first unless --rate
names it. Reloads go back and forth between two versions of the bundle, in a folder that is made for it; each SIGTERM
goes to a service of its own. The exit status is 0 for figures, whatever they are, and 2 for none.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from loadtest.cost.service_cost import on_cpus
from loadtest.resilience.lifecycle_figures import (
    AFTERMATH,
    Reload,
    Reloads,
    Stop,
    judge_reloads,
    judge_stops,
    reload_figures,
    stop_figures,
)
from loadtest.rig import processes
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.build import ClientUnavailable
from loadtest.rig.openloop.client import ClientError, Load, running
from loadtest.rig.server import HOST, STOP_TIMEOUT, Server, ServerError
from loadtest.rig.subject import (
    Subject,
    add_subject_options,
    allow_connections,
    connections_for,
    goodput_of,
    subject_from,
)
from loadtest.rig.verdict import Check, finite, table
from models.contract.manifest import MANIFEST_FILE, Manifest
from models.files import write_json

SHARE: Final = 0.7
_RELOAD_TIMEOUT: Final = 60.0
_SETTLED: Final = 1.0
_AFTER_SIGNAL: Final = 2.5


def two_versions(bundle: Path, folder: Path) -> tuple[str, tuple[str, str]]:
    """Copy a bundle into `folder` twice, as two versions that differ in their names alone; its name, and theirs.

    Raises `OSError`, or `models.contract.spec.SpecError` if there is no manifest.
    """
    manifest = Manifest.read(bundle)
    other = f"{manifest.version}-again"
    for version in (manifest.version, other):
        copy = folder / manifest.name / version
        shutil.copytree(bundle, copy)
        content = json.loads((copy / MANIFEST_FILE).read_text("utf-8"))
        write_json(copy / MANIFEST_FILE, {**content, "version": version})
    return manifest.name, (manifest.version, other)


def measure_reloads(subject: Subject, rate: float, *, reloads: int, before: float, period: float) -> Reloads:
    """Reload every `period` seconds, after `before` seconds without. Raises `ServerError` for one that is refused."""
    with tempfile.TemporaryDirectory() as scratch:
        name, versions = two_versions(subject.bundle, Path(scratch))
        with subject.running(Path(scratch)) as (server, endpoint):
            for version in versions:  # What is done once, such as keeping a graph, is not what a reload costs.
                _reload(server, name, version)
            subject.warm(endpoint, 1.0)
            load = Load(
                rate=rate,
                seconds=before + reloads * period,
                connections=connections_for(rate),
                cpu=subject.client_cpu,
                keep_bodies=True,
            )
            with running(endpoint.port, subject.messages(endpoint), load) as run:
                orders: list[Reload] = []
                for k in range(reloads):
                    earliest = orders[-1].answered_ns + AFTERMATH * 1e9 if orders else 0.0
                    _sleep_until(max(run.start_ns + (before + k * period) * 1e9, earliest))
                    orders.append(_reload(server, name, versions[k % 2]))
                window = run.window()
    if orders[-1].answered_ns + AFTERMATH * 1e9 > window.start_ns + window.seconds * 1e9:
        raise ServerError(f"reloads take longer than --period-seconds {period:g}: the last period ended after the load")
    return reload_figures(window, read_answers(window, subject.payloads), orders, rate)


def _reload(server: Server, name: str, version: str) -> Reload:
    url = f"http://{HOST}:{server.announcement['admin_port']}/admin/v1/reload"
    body = json.dumps({"model": name, "version": version}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    sent = time.monotonic_ns()
    try:
        with urllib.request.urlopen(request, timeout=_RELOAD_TIMEOUT) as answer:
            answer.read()
    except OSError as error:
        raise ServerError(f"the reload of {name} {version} failed: {error}") from None
    return Reload(version, sent, time.monotonic_ns())


def measure_stop(subject: Subject, rate: float, *, workers: int, delay: float) -> Stop:
    """SIGTERM to a fresh service, `delay` seconds after the load began. Raises `ServerError` if it does not end."""
    with subject.running(options=("--workers", str(workers))) as (server, endpoint):
        subject.warm(endpoint, _SETTLED)
        load = Load(
            rate=rate,
            seconds=delay + _AFTER_SIGNAL,
            connections=connections_for(rate),
            cpu=subject.client_cpu,
        )
        with running(endpoint.port, subject.messages(endpoint), load) as run:
            _sleep_until(run.start_ns + delay * 1e9)
            sent = time.monotonic_ns()
            server.process.send_signal(signal.SIGTERM)
            try:
                status = server.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise ServerError(f"the service did not end within {STOP_TIMEOUT:g} s of SIGTERM") from None
            ended = time.monotonic_ns()
            left = len(processes.tree(server.pid))
            window = run.window()
    return stop_figures(window, workers=workers, status=status, sent_ns=sent, ended_ns=ended, left=left)


def _sleep_until(monotonic_ns: float) -> None:
    time.sleep(max(0.0, monotonic_ns / 1e9 - time.monotonic()))


def checks(reloads: Reloads | None, stops: Sequence[Stop]) -> list[Check]:
    """All verdicts; stops are judged apart by their number of workers."""
    found = [] if reloads is None else judge_reloads(reloads)
    for workers in sorted({stop.workers for stop in stops}):
        found += judge_stops([stop for stop in stops if stop.workers == workers])
    return found


def render(reloads: Reloads | None, stops: Sequence[Stop]) -> str:
    """The verdicts, and what else there is to say, as Markdown."""
    lines = [table(checks(reloads, stops)), ""]
    if reloads is not None:
        taken = sorted(reloads.seconds)
        lines.append(
            f"- Reloads at {reloads.rate:.0f}/s took {taken[0]:.2f} to {taken[-1]:.2f} s. Degraded: "
            f"{reloads.degraded:.2%} of the lists in their periods ({reloads.requests} requests), "
            f"{reloads.before_degraded:.2%} before; p99 before {reloads.before_p99_ms:.2f} ms."
        )
    for workers in sorted({stop.workers for stop in stops}):
        chosen = [stop for stop in stops if stop.workers == workers]
        taken = sorted(stop.seconds for stop in chosen)
        answered, refused = sum(s.answered for s in chosen), sum(s.refused for s in chosen)
        lines.append(
            f"- Stops with {workers} worker(s) took {taken[0]:.2f} to {taken[-1]:.2f} s; {answered} requests that were "
            f"due after the signal were answered, {refused} found nobody listening."
        )
    return "\n".join(lines)


def to_json(goodput: float, reloads: Reloads | None, stops: Sequence[Stop]) -> dict[str, Any]:
    """Everything, as plain JSON types; null for what is infinite."""
    table: dict[str, Any] | None = None
    if reloads is not None:
        table = asdict(reloads)
        table |= {name: finite(table[name]) for name in ("before_p99_ms", "p99_ms")}
    return {
        "goodput": goodput,
        "reloads": table,
        "stops": [asdict(stop) for stop in stops],
        "checks": [asdict(check) for check in checks(reloads, stops)],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module for the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    reloads: Reloads | None = None
    try:
        allow_connections()
        subject = subject_from(options)
        with on_cpus(subject.split.client):
            goodput = options.rate or goodput_of(subject, options.search_seconds)
            if options.reloads:
                reloads = measure_reloads(
                    subject,
                    goodput * SHARE,
                    reloads=options.reloads,
                    before=options.before_seconds,
                    period=options.period_seconds,
                )
            stops = _stops(subject, goodput * SHARE, options)
    except (ValueError, OSError, ServerError, ClientError, ClientUnavailable) as error:
        parser.exit(2, f"loadtest.resilience.lifecycle: {error}\n")
    print(render(reloads, stops))
    if options.json:
        write_json(options.json, to_json(goodput, reloads, stops))
    return 0


def _stops(subject: Subject, rate: float, options: argparse.Namespace) -> list[Stop]:
    rng = random.Random(options.seed)
    workers = [1] * options.stops + [options.workers] * options.worker_stops
    return [measure_stop(subject, rate, workers=n, delay=1 + rng.random() / 10) for n in workers]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.resilience.lifecycle", description=__doc__)
    add_subject_options(parser)
    add = parser.add_argument
    add("--reloads", type=int, default=20, help="reloads under load (20)")
    add("--before-seconds", type=float, default=10.0, help="load before the first reload (10)")
    add("--period-seconds", type=float, default=5.0, help="from one reload to the next (5)")
    add("--stops", type=int, default=20, help="SIGTERMs under load (20)")
    add("--worker-stops", type=int, default=3, help="further ones to a service with --workers (3)")
    add("--workers", type=int, default=2, help="workers of those services (2)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
