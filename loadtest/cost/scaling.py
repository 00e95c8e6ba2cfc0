"""Time a service in one process, and with workers that feed an engine process.

It says also how unevenly the connections are spread, since the busiest worker decides.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import psutil

from loadtest.rig.batches import Batches
from loadtest.rig.openloop.client import Load, running
from loadtest.rig.openloop.window import Window
from loadtest.rig.server import UNHURRIED, Server, ServerError
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import Measured, Subject, markdown

HEAD: Final = (
    "processes",
    "in flight",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "mean batch",
    "connections of the busiest worker",
    "requests by size of their run",
)
Kind = Literal["engine", "worker"]
_WARM_UP: Final = 0.5
_LOOK_SECONDS: Final = 0.02
_START_SECONDS: Final = 150.0
"""A device captures a graph for every shape before it serves."""


@dataclass(frozen=True, slots=True)
class Layout:
    """So many `workers` that feed one engine process; 0: one process does all."""

    workers: int
    max_batch: int = 64

    @property
    def name(self) -> str:
        """Return the layout in words."""
        if not self.workers:
            return "one process"
        return f"{self.workers} worker{'s' * (self.workers > 1)}, 1 engine process"

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of ``listwright serve``."""
        workers = ("--workers", str(self.workers or 1), "--engine-processes", str(int(self.workers > 0)))
        return (*workers, "--max-batch", str(self.max_batch))


def processes(server: Server, kind: Kind) -> list[psutil.Process]:
    """Return the supervisor's children of a kind."""
    found = []
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.Error):
            if f"service.workers.{kind}" in child.cmdline():
                found.append(child)
    return sorted(found, key=lambda child: child.pid)


def run_shared(server: Server, messages: Sequence[bytes], load: Load, *, warm_up: float) -> tuple[Window, float]:
    """Run a closed loop; return also the busiest worker's share of all connections.

    Which worker accepts a connection is chance, and it keeps it: a layout is no faster than its busiest worker. Workers
    are looked at in the first `warm_up` seconds, which do not count, since that takes time from the service. Raises
    `ServerError` if they end.
    """
    whole = replace(load, seconds=load.seconds + warm_up)
    with running(server.port, messages, whole) as run:
        share = _busiest_share(server, load.connections, warm_up, whole.seconds)
        window = run.window()
    return window.between(warm_up, whole.seconds), share


def _busiest_share(server: Server, connections: int, seconds: float, most_seconds: float) -> float:
    """Return that share, once the workers have accepted so many connections, or any after `seconds`."""
    began = time.monotonic()
    while True:
        counts = _connections(server)
        waited = time.monotonic() - began
        if sum(counts) >= connections or waited > (seconds if any(counts) else most_seconds):
            return max(counts) / max(sum(counts), 1)
        time.sleep(_LOOK_SECONDS)


def _connections(server: Server) -> list[int]:
    """Count each worker's connections. Raises `ServerError` if one has ended."""
    try:
        workers = processes(server, "worker") or [psutil.Process(server.pid)]
        return [sum(c.status == psutil.CONN_ESTABLISHED for c in one.net_connections("tcp")) for one in workers]
    except psutil.Error as error:
        raise ServerError(f"a process of the service has ended: {error}") from None


def time_layout(subject: Subject, layout: Layout, in_flight: Sequence[int], seconds: float) -> Measured:
    """Serve in a layout and time closed loops with so many requests in flight.

    Raises one of `loadtest.rig.subject.FAILURES`; an answer without the model is one.
    """
    rows, figures = [], list[dict[str, Any]]()
    with subject.running(defaults=UNHURRIED, options=layout.options, start_seconds=_START_SECONDS) as (
        server,
        endpoint,
    ):
        for n in in_flight:
            before = Batches.read(server.url)
            load = Load(seconds=seconds, connections=n, cpu=subject.client_cpu)
            window, share = run_shared(server, subject.messages(endpoint), load, warm_up=_WARM_UP)
            found, batches = Latency.of(window.full_ms()), Batches.read(server.url) - before
            rate = found.requests / window.seconds
            shown = (f"{rate:.0f}", f"{found.p50:.2f}", f"{found.p99:.2f}", f"{batches.mean:.1f}", f"{share:.0%}")
            rows.append((layout.name, n, *shown, batches))
            times = {"p50_ms": found.p50, "p99_ms": found.p99, "rate": rate, "busiest_share": share}
            figures.append({"in_flight": n, **times, "mean_batch": batches.mean, "batches": batches.to_json()})
    return markdown(HEAD, rows), {"options": layout.options, "rows": figures}
