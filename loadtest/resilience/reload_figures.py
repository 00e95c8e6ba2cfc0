"""Judge reloads under load against equal windows without a reload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.rig.answers import Answers
from loadtest.rig.openloop.window import DegradedField, Mask, Window, nearest_rank, status_200
from loadtest.rig.server import ServerError
from loadtest.rig.subject import Check, counts

AFTERMATH: Final = 0.5
SLOWER: Final = 1.3
"""Most that the p99 of the lists in the periods may be above that of the reference, as a ratio."""

POINTS: Final = 0.5
"""Most percentage points of requests that may be degraded or refused beyond the share of the reference."""


@dataclass(frozen=True, slots=True)
class TimedReload:
    """One order to the admin port: a version, sent and answered (CLOCK_MONOTONIC, ns)."""

    version: str
    sent_ns: int
    answered_ns: int

    @property
    def seconds(self) -> float:
        return (self.answered_ns - self.sent_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Stretch:
    """Requests of some time: p99 of the lists, shares degraded and refused (503)."""

    requests: int
    p99_ms: float
    degraded: float
    refused: float

    @property
    def spoilt(self) -> float:
        """The share of requests that got no full list: degraded or refused."""
        return self.degraded + self.refused

    @classmethod
    def of(cls, window: Window) -> Stretch:
        """Take the figures of a window.

        An answer that is no list has no time; `failures` counts it.
        """
        records, n = window.records, max(len(window), 1)
        lists = status_200(records)
        degraded = int(np.count_nonzero(lists & (records["list"] == DegradedField.YES)))
        refused = int(np.count_nonzero(window.answered & (records["status"] == 503)))
        return cls(len(window), nearest_rank(window.times_ms()[lists], 0.99), degraded / n, refused / n)


@dataclass(frozen=True, slots=True)
class Reloads:
    """The effect of reloads: requests in their periods and in equal windows before.

    `switched` counts the reloads after whose answer every list was the new version's until the next order, and some
    list was. `failed` and `faults` are the whole run's: by HTTP status or kind of fault, and what was no valid answer.
    """

    rate: float
    seconds: tuple[float, ...]
    during: Stretch
    reference: Stretch
    switched: int
    failed: Mapping[str, int]
    faults: Mapping[str, int]

    @property
    def points(self) -> float:
        """Percentage points of requests degraded or refused beyond the reference."""
        return (self.during.spoilt - self.reference.spoilt) * 100

    @property
    def ratio(self) -> float:
        """The p99 in the periods over that of the reference; infinite without lists."""
        return self.during.p99_ms / self.reference.p99_ms if math.isfinite(self.reference.p99_ms) else math.inf


def reload_figures(window: Window, answers: Answers, reloads: Sequence[TimedReload], rate: float) -> Reloads:
    """Take the figures of a run.

    Raises `ServerError` if a reference would begin in the period before it.
    """
    periods = [(r.sent_ns, r.answered_ns + AFTERMATH * 1e9) for r in reloads]
    references = [(begin - (end - begin), begin) for begin, end in periods]
    ends = [window.start_ns, *(end for _, end in periods)]
    if any(begin < end for (begin, _), end in zip(references, ends, strict=False)):
        raise ServerError("reloads take longer than half of --period-seconds: there is no equal window without one")
    nexts = [reload.sent_ns for reload in reloads[1:]] + [math.inf]
    return Reloads(
        rate=rate,
        seconds=tuple(reload.seconds for reload in reloads),
        during=Stretch.of(window.where(_within(window, periods))),
        reference=Stretch.of(window.where(_within(window, references))),
        switched=sum(_switched(window, answers, r, end) for r, end in zip(reloads, nexts, strict=True)),
        failed=window.failures(),
        faults=answers.faults,
    )


def _within(window: Window, stretches: Sequence[tuple[float, float]]) -> Mask:
    """Mark the requests that were due in any of the stretches of time."""
    due = window.records["intended"]
    return np.asarray(np.any([(due >= begin) & (due < end) for begin, end in stretches], axis=0))


def _switched(window: Window, answers: Answers, reload: TimedReload, end: float) -> bool:
    after = (window.records["sent"] > reload.answered_ns) & (window.records["done"] < end) & (answers.versions != "")
    return set(answers.versions[after].tolist()) == {reload.version}


def judge_reloads(f: Reloads) -> list[Check]:
    """Judge each target of the reloads."""
    n = len(f.seconds)
    return [
        Check(f"{n} reloads: failed requests", "none", counts(f.failed), not f.failed),
        Check(f"{n} reloads: answers that are no valid list", "none", counts(f.faults), not f.faults),
        Check(
            f"{n} reloads: degraded or refused beyond equal windows without",
            f"≤ {POINTS:g} points",
            f"{f.points:+.2f} points",
            f.points <= POINTS,
        ),
        Check(f"{n} reloads: p99 of the lists", f"≤ {SLOWER:g} × without", f"{f.ratio:.2f} ×", f.ratio <= SLOWER),
        Check(f"{n} reloads: the new version answers", f"{n}", f"{f.switched}", f.switched == n),
    ]
