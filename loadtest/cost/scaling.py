"""Time a service in one process, and with workers that feed an engine process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.rig.batches import Batches
from loadtest.rig.server import UNHURRIED
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import Measured, Subject, markdown

HEAD: Final = (
    "processes",
    "in flight",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "mean batch",
    "requests by size of their run",
)
_WARM_UP: Final = 0.5
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
            window = subject.closed(endpoint, seconds, concurrency=n, warm_up=_WARM_UP)
            found, batches = Latency.of(window.full_ms()), Batches.read(server.url) - before
            rate = found.requests / window.seconds
            rows.append(
                (layout.name, n, f"{rate:.0f}", f"{found.p50:.2f}", f"{found.p99:.2f}", f"{batches.mean:.1f}", batches)
            )
            times = {"p50_ms": found.p50, "p99_ms": found.p99, "rate": rate}
            figures.append({"in_flight": n, **times, "mean_batch": batches.mean, "batches": batches.to_json()})
    return markdown(HEAD, rows), {"options": layout.options, "rows": figures}
