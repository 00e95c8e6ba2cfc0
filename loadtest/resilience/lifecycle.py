"""Reload and stop a service under load, and count the requests that pay for it.

One service on a CPU of its own, the client on another, with 70% of the goodput, which is searched first unless --rate
names it. Reloads go back and forth between two versions of the bundle, in a folder that is made for it; each SIGTERM
goes to a service of its own. The exit status is 0, 1 if a target
is missed, and 2 without figures.

A reload's period goes from the order to half a second after its answer, since what the switch leaves cold is part of
its price. A window of equal length that ends at the order is its reference: both are pooled over all reloads, and
compared by their p99 and by the share of requests that were degraded or refused. A request has failed if it has any
other answer than a 200 or a 503. At a stop, a request is lost if a connection was made for it and no whole answer came
back; one for which no connection could be made was never accepted.
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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtest.resilience.reload_figures import AFTERMATH, Reloads, TimedReload, judge_reloads, reload_figures
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.client import running
from loadtest.rig.openloop.window import Fault, Window
from loadtest.rig.server import STOP_TIMEOUT, Server, ServerError, alive, tree
from loadtest.rig.subject import Check, Measured, Subject, checks_table, command_parser, counts, missed, run_at_goodput
from models.contract.manifest import MANIFEST_FILE, Manifest
from models.files import write_json


@dataclass(frozen=True, slots=True)
class Stop:
    """One SIGTERM under load, after which `left` processes of the service remain.

    `answered` counts whole answers, whatever their status, to requests that were due after the signal; `statuses` are
    those of the whole run. `lost` are accepted requests without an answer by kind, `refused` the connections refused.
    """

    workers: int
    status: int
    seconds: float
    left: int
    answered: int
    statuses: Mapping[int, int]
    lost: Mapping[str, int]
    refused: int


def stop_figures(window: Window, *, workers: int, status: int, sent_ns: int, ended_ns: int, left: int) -> Stop:
    """Take the figures of a run with SIGTERM at `sent_ns`, ended at `ended_ns`."""
    lost = window.faults()
    refused = lost.pop(Fault.CONNECT.name.lower(), 0)
    answered = int(np.count_nonzero(window.answered & (window.records["intended"] >= sent_ns)))
    return Stop(workers, status, (ended_ns - sent_ns) / 1e9, left, answered, window.statuses(), lost, refused)


def judge_stops(stops: Sequence[Stop]) -> list[Check]:
    """Judge each target, over stops with the same number of workers."""
    n, workers = len(stops), stops[0].workers
    lost: Counter[str] = Counter()
    for stop in stops:
        lost.update(stop.lost)
    clean = sum(stop.status == 0 for stop in stops)
    left = sum(stop.left for stop in stops)
    name = f"{n} SIGTERMs, {workers} worker{'s' if workers > 1 else ''}"
    return [
        Check(f"{name}: accepted requests without an answer", "none", counts(lost), not lost),
        Check(f"{name}: exit status 0", f"{n}", f"{clean}", clean == n),
        Check(f"{name}: processes left", "none", f"{left or 'none'}", not left),
    ]


SHARE: Final = 0.7
_AFTER_SIGNAL: Final = 2.5


def two_versions(bundle: Path, folder: Path) -> tuple[str, tuple[str, str]]:
    """Copy a bundle into `folder` as two versions; return its name, and theirs.

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


def measure_reloads(subject: Subject, rate: float, options: argparse.Namespace) -> Reloads:
    """Reload every ``--period-seconds``. Raises `ServerError` for one that is refused or too slow for that."""
    period, before = options.period_seconds, options.before_seconds
    with tempfile.TemporaryDirectory() as scratch:
        name, versions = two_versions(subject.bundle, Path(scratch))
        with subject.running(Path(scratch)) as (server, endpoint):
            for version in versions:  # Work of the first time, such as keeping a graph, is not the cost of a reload.
                reload(server, name, version)
            subject.closed(endpoint, 1.0)
            load = subject.load(rate, before + options.reloads * period, keep_bodies=True)
            with running(endpoint.port, subject.messages(endpoint), load) as run:
                orders: list[TimedReload] = []
                for k in range(options.reloads):
                    earliest = orders[-1].answered_ns + AFTERMATH * 1e9 if orders else 0.0
                    _sleep_until(max(run.start_ns + (before + k * period) * 1e9, earliest))
                    orders.append(reload(server, name, versions[k % 2]))
                window = run.window()
    if orders[-1].answered_ns + AFTERMATH * 1e9 > window.start_ns + window.seconds * 1e9:
        raise ServerError(f"reloads take longer than --period-seconds {period:g}: the last period ended after the load")
    return reload_figures(window, read_answers(window, subject.payloads), orders, rate)


def reload(server: Server, name: str, version: str) -> TimedReload:
    """Order a reload at the admin port, and time it. Raises `ServerError` if it fails."""
    sent = time.monotonic_ns()
    server.reload(name, version)
    return TimedReload(version, sent, time.monotonic_ns())


def measure_stop(subject: Subject, rate: float, *, workers: int, delay: float) -> Stop:
    """Stop a fresh service under load after `delay` seconds. Raises `ServerError`."""
    with subject.running(options=("--workers", str(workers))) as (server, endpoint):
        subject.closed(endpoint, 1.0)
        with running(endpoint.port, subject.messages(endpoint), subject.load(rate, delay + _AFTER_SIGNAL)) as run:
            _sleep_until(run.start_ns + delay * 1e9)
            members = tree(server.pid)
            sent = time.monotonic_ns()
            server.process.send_signal(signal.SIGTERM)
            try:
                status = server.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise ServerError(f"the service did not end within {STOP_TIMEOUT:g} s of SIGTERM") from None
            ended = time.monotonic_ns()
            left = len({*alive(members), *tree(server.pid)})
            window = run.window()
    return stop_figures(window, workers=workers, status=status, sent_ns=sent, ended_ns=ended, left=left)


def _sleep_until(monotonic_ns: float) -> None:
    time.sleep(max(0.0, monotonic_ns / 1e9 - time.monotonic()))


def _by_workers(stops: Sequence[Stop]) -> list[list[Stop]]:
    return [[s for s in stops if s.workers == workers] for workers in sorted({s.workers for s in stops})]


def checks(reloads: Reloads | None, stops: Sequence[Stop]) -> list[Check]:
    """Judge everything; stops are judged apart by their number of workers."""
    found = [] if reloads is None else judge_reloads(reloads)
    return [*found, *(check for group in _by_workers(stops) for check in judge_stops(group))]


def render(reloads: Reloads | None, stops: Sequence[Stop]) -> str:
    """Show the verdicts and further figures as Markdown."""
    lines = [checks_table(checks(reloads, stops)), ""]
    if reloads is not None:
        taken = sorted(reloads.seconds)
        lines.append(f"- Reloads at {reloads.rate:.0f}/s took {taken[0]:.2f} to {taken[-1]:.2f} s.")
        for name, part in (("In their periods", reloads.during), ("In equal windows before", reloads.reference)):
            lines.append(
                f"- {name}: {part.requests} requests, {part.degraded:.2%} degraded, {part.refused:.2%} refused, "
                f"p99 of the lists {part.p99_ms:.2f} ms."
            )
    for group in _by_workers(stops):
        taken = sorted(stop.seconds for stop in group)
        answered, refused = sum(s.answered for s in group), sum(s.refused for s in group)
        lines.append(
            f"- Stops with {group[0].workers} worker(s) took {taken[0]:.2f} to {taken[-1]:.2f} s; {answered} requests "
            f"that were due after the signal were answered, {refused} found nobody listening."
        )
    return "\n".join(lines)


def measure(options: argparse.Namespace, subject: Subject, goodput: float) -> Measured:
    """Measure reloads and stops as the options say."""
    rng, rate = random.Random(options.seed), goodput * SHARE
    workers = [1] * options.stops + [options.workers] * options.worker_stops
    reloads = measure_reloads(subject, rate, options) if options.reloads else None
    stops = [measure_stop(subject, rate, workers=n, delay=1 + rng.random() / 10) for n in workers]
    found: dict[str, Any] = {
        "goodput": goodput,
        "reloads": reloads and asdict(reloads),
        "stops": [asdict(stop) for stop in stops],
    }
    judged = checks(reloads, stops)
    found |= {"checks": [asdict(check) for check in judged], "missed": missed(judged)}
    return render(reloads, stops), found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module for the exit status."""
    parser = command_parser("loadtest.resilience.lifecycle", __doc__)
    add = parser.add_argument
    add("--reloads", type=int, default=20, help="reloads under load (20)")
    add("--before-seconds", type=float, default=10.0, help="load before the first reload (10)")
    add("--period-seconds", type=float, default=10.0, help="from one reload to the next (10)")
    add("--stops", type=int, default=20, help="SIGTERMs under load (20)")
    add("--worker-stops", type=int, default=3, help="further ones to a service with --workers (3)")
    add("--workers", type=int, default=2, help="workers of those services (2)")
    return run_at_goodput(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
