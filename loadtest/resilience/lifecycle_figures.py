"""Turn the requests around reloads and stops into figures and verdicts.

A reload's period goes from the order to half a second after its answer, since what the switch leaves cold is part of
its price. A request has failed there if it has any other answer than a 200. At a stop, a request is lost if a
connection was made for it and no whole answer came back; one for which no connection could be made was never accepted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.rig.answers import Answers
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.openloop.window import Fault, Mask, Window, status_200
from loadtest.rig.verdict import Check, counts

AFTERMATH: Final = 0.5
SLOWER: Final = 1.5


@dataclass(frozen=True, slots=True)
class TimedReload:
    """One order to the admin port: a version, sent and answered (CLOCK_MONOTONIC, ns)."""

    version: str
    sent_ns: int
    answered_ns: int

    @property
    def seconds(self) -> float:
        """Return the time from order to answer."""
        return (self.answered_ns - self.sent_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Reloads:
    """The effect of reloads; `p99_ms` is pooled over periods, failures infinitely slow.

    `switched` counts the reloads after whose answer every list was the new version's until the next order, and some
    list was. `failed` and `faults` are the whole run's: by HTTP status or kind of fault, and what was no valid answer.
    """

    rate: float
    seconds: tuple[float, ...]
    requests: int
    before_p99_ms: float
    p99_ms: float
    before_degraded: float
    degraded: float
    switched: int
    failed: Mapping[str, int]
    faults: Mapping[str, int]


def reload_figures(window: Window, answers: Answers, reloads: Sequence[TimedReload], rate: float) -> Reloads:
    """Take the figures of a run; requests before the first reload are the reference."""
    intended = window.records["intended"]
    before = intended < reloads[0].sent_ns
    during = np.zeros(len(window), np.bool_)
    for reload in reloads:
        during |= (intended >= reload.sent_ns) & (intended < reload.answered_ns + AFTERMATH * 1e9)
    nexts = [reload.sent_ns for reload in reloads[1:]] + [math.inf]
    return Reloads(
        rate=rate,
        seconds=tuple(reload.seconds for reload in reloads),
        requests=int(np.count_nonzero(during)),
        before_p99_ms=_p99(window, before),
        p99_ms=_p99(window, during),
        before_degraded=window.where(before).degraded_share,
        degraded=window.where(during).degraded_share,
        switched=sum(_switched(window, answers, r, end) for r, end in zip(reloads, nexts, strict=True)),
        failed=failures(window),
        faults=answers.faults,
    )


def failures(window: Window) -> dict[str, int]:
    """Count the requests without a 200, by status or kind of fault."""
    statuses = {f"status {status}": n for status, n in window.statuses().items() if status != 200}
    return {**statuses, **window.faults()}


def _switched(window: Window, answers: Answers, reload: TimedReload, end: float) -> bool:
    after = (window.records["sent"] > reload.answered_ns) & (window.records["done"] < end) & (answers.versions != "")
    return set(answers.versions[after].tolist()) == {reload.version}


def _p99(window: Window, chosen: Mask) -> float:
    times = np.where(status_200(window.records), window.times_ms(), np.inf)[chosen]
    return float(np.quantile(times, 0.99, method="inverted_cdf")) if len(times) else math.inf


def judge_reloads(f: Reloads) -> list[Check]:
    """Judge each target."""
    most = max(SLOWER * f.before_p99_ms, BUDGET_MS) if f.before_p99_ms < math.inf else BUDGET_MS
    n = len(f.seconds)
    return [
        Check(f"{n} reloads: failed requests", "none", counts(f.failed), not f.failed),
        Check(f"{n} reloads: answers that are no valid list", "none", counts(f.faults), not f.faults),
        Check(f"{n} reloads: pooled p99", f"≤ {most:.1f} ms", f"{f.p99_ms:.2f} ms", f.p99_ms <= most),
        Check(f"{n} reloads: the new version answers", f"{n}", f"{f.switched}", f.switched == n),
    ]


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
    faults = window.faults()
    refused = faults.pop(Fault.CONNECT.name.lower(), 0)
    after = window.where(window.records["intended"] >= sent_ns)
    return Stop(
        workers=workers,
        status=status,
        seconds=(ended_ns - sent_ns) / 1e9,
        left=left,
        answered=int(np.count_nonzero(after.answered)),
        statuses=window.statuses(),
        lost=faults,
        refused=refused,
    )


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
