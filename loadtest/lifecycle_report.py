"""What reloads and stops did to the requests that came meanwhile: figures beside their targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import msgspec
import numpy as np

from loadtest.latency import BUDGET_MS
from loadtest.openloop.records import Fault
from loadtest.openloop.window import Window
from loadtest.verdicts import Target, table_head, table_row, target_table

_SETTLES: Final = 0.25
"""Seconds after a reload that still count as its time."""


class _Version(msgspec.Struct):
    version: str


Span = tuple[float, str, float]
"""When a reload was asked for (on `time.monotonic`), the version that was live then, and when it was."""


@dataclass(frozen=True, slots=True)
class Reloads:
    """Times in milliseconds. `failed` counts all requests that got no list; `answered_by` lists by version.

    The p99 during reloads pools the requests that were due from the order of a reload to 0.25 s after its answer.
    """

    count: int
    requests: int
    failed: int
    statuses: dict[int, int]
    seconds: list[float]
    before_p99_ms: float
    during_p99_ms: float
    during_requests: int
    before_full_share: float
    during_full_share: float
    versions: int

    @classmethod
    def of(cls, window: Window, spans: Sequence[Span], *, before: float) -> Reloads:
        """From the whole run, whose bodies were kept. Raises `ValueError` if no request fell into a reload."""
        due = window.records["intended"] / 1e9
        during = np.zeros(len(window), np.bool_)
        for asked, _, done in spans:
            during |= (due >= asked) & (due <= done + _SETTLES)
        part, first = window.where(during), window.between(1.0, before)
        listed = window.answered & (window.records["status"] == 200)
        decode = msgspec.json.Decoder(_Version).decode
        versions = {decode(window.body(row)).version for row in np.flatnonzero(listed).tolist()}
        expected = {version for _, version, _ in spans} | {"1"}
        if versions != expected:
            raise ValueError(f"lists came from versions {sorted(versions)}, and not from {sorted(expected)}")
        return cls(
            count=len(spans),
            requests=len(window),
            failed=len(window) - int(np.count_nonzero(listed)),
            statuses=window.statuses(),
            seconds=[done - asked for asked, _, done in spans],
            before_p99_ms=first.latency().p99,
            during_p99_ms=part.latency().p99,
            during_requests=len(part),
            before_full_share=first.full() / len(first),
            during_full_share=part.full() / len(part),
            versions=len(versions),
        )

    def targets(self) -> list[Target]:
        """What reloads must keep."""
        limit = max(1.5 * self.before_p99_ms, BUDGET_MS)
        return [
            Target(f"failed requests over {self.count} reloads", 0, self.failed),
            Target("p99 during reloads, ms", round(limit, 2), self.during_p99_ms),
        ]


@dataclass(frozen=True, slots=True)
class Stop:
    """One SIGTERM: seconds until the process had ended, its exit status and how many processes it left.

    `lost` requests were read by the service, or cut off in their answer, or never answered; `answered_after` came in
    after the signal and were answered; `refused` came when nobody listened any more.
    """

    seconds: float
    status: int
    left: int
    requests: int
    answered_after: int
    refused: int
    unread: int
    lost: int

    @classmethod
    def of(cls, window: Window, *, told: float, seconds: float, status: int, left: int) -> Stop:
        """`told` is when the signal was sent, on `time.monotonic`."""
        error = window.records["error"]
        counts = Counter(Fault(kind) for kind in error.tolist())
        after = window.answered & (window.records["sent"] / 1e9 > told)
        return cls(
            seconds=seconds,
            status=status,
            left=left,
            requests=len(window),
            answered_after=int(np.count_nonzero(after)),
            refused=counts[Fault.CONNECT],
            unread=counts[Fault.RESET],
            lost=counts[Fault.CLOSED] + counts[Fault.CUT] + counts[Fault.TIMEOUT] + counts[Fault.MALFORMED],
        )


@dataclass(frozen=True, slots=True)
class Stops:
    """All stops of services with so many workers."""

    workers: int
    stops: list[Stop]

    def targets(self) -> list[Target]:
        """What a stop must keep."""
        of = f"{len(self.stops)} stops, workers {self.workers}"
        return [
            Target(f"{of}: accepted requests without an answer", 0, sum(s.lost for s in self.stops)),
            Target(f"{of}: requests reset unread", 0, sum(s.unread for s in self.stops)),
            Target(f"{of}: exit statuses other than 0", 0, sum(s.status != 0 for s in self.stops)),
            Target(f"{of}: processes left", 0, sum(s.left for s in self.stops)),
        ]


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Reloads and stops at `rate` requests/s."""

    rate: float
    reloads: Reloads | None
    stops: list[Stops]

    def targets(self) -> list[Target]:
        """All of them."""
        return [*(self.reloads.targets() if self.reloads else ()), *(t for s in self.stops for t in s.targets())]


def markdown(measured: Lifecycle) -> str:
    """What happened, and the targets."""
    parts = [f"At {measured.rate:.0f} requests/s."]
    if measured.reloads:
        parts.append(_reload_table(measured.reloads))
    if measured.stops:
        parts.append(_stop_table(measured.stops))
    return "\n\n".join([*parts, target_table(measured.targets())])


def _reload_table(r: Reloads) -> str:
    lines = table_head(
        ["reloads", "seconds each, median", "longest", "p99 before", "p99 during", "full lists before", "during"]
    )
    cells = [str(r.count), f"{median(r.seconds):.2f}", f"{max(r.seconds):.2f}", f"{r.before_p99_ms:.2f}"]
    cells += [f"{r.during_p99_ms:.2f}", f"{r.before_full_share:.2%}", f"{r.during_full_share:.2%}"]
    return "\n".join([*lines, table_row(cells)])


def _stop_table(stops: Sequence[Stops]) -> str:
    lines = table_head(
        ["workers", "stops", "seconds each, median", "longest", "answered after the signal", "refused after it"]
    )
    for s in stops:
        times = [stop.seconds for stop in s.stops]
        cells = [str(s.workers), str(len(s.stops)), f"{median(times):.2f}", f"{max(times):.2f}"]
        cells += [str(sum(stop.answered_after for stop in s.stops)), str(sum(stop.refused for stop in s.stops))]
        lines.append(table_row(cells))
    return "\n".join(lines)


def to_json(measured: Lifecycle) -> dict[str, Any]:
    """As plain JSON."""
    table: dict[str, Any] = msgspec.to_builtins(measured, str_keys=True)
    table["targets"] = [{**msgspec.to_builtins(t), "reached": t.reached} for t in measured.targets()]
    return table
