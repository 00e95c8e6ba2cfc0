"""Turn the requests of an overload into figures and verdicts.

A run has three parts: a load below the goodput, the overload, and the first load again, directly after it. Times count
from the intended start. An answer other than 200 counts as infinitely slow in the first and the last part, so that a
refusal never makes them look quick; in the overload the p99 is that of the lists alone, since refusals are meant to be
there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.rig.answers import Answers
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.openloop.window import Fault, Window, status_200
from loadtest.rig.verdict import Check, counts

STEP: Final = 0.1
PIECE: Final = 0.5
TOLERATED_MS: Final = BUDGET_MS * 1.1
FULL_SHARE: Final = 0.8
REFUSAL_MS: Final = 0.3
RECOVERED: Final = 1.2
RECOVERY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """A run: `share` of the goodput, `factor` times it for `seconds`, then `share` again."""

    goodput: float
    factor: float = 3.0
    seconds: float = 60.0
    share: float = 0.7
    around: float = 10.0

    def __post_init__(self) -> None:
        if min(self.goodput, self.factor, self.seconds, self.share) <= 0 or self.around <= RECOVERY_SECONDS:
            raise ValueError(
                f"an overload needs positive figures, and more than {RECOVERY_SECONDS:g} s around it: {self}"
            )

    @property
    def base_rate(self) -> float:
        """Return the requests/s before and after."""
        return self.goodput * self.share

    @property
    def rate(self) -> float:
        """Return the requests/s of the overload."""
        return self.goodput * self.factor

    @property
    def stop(self) -> float:
        """Return the end of the overload, in seconds from the start of the run."""
        return self.around + self.seconds


@dataclass(frozen=True, slots=True)
class RefusalCost:
    """CPU milliseconds of one refusal, over so many of them, at `rate` a second."""

    cpu_ms: float
    refusals: int
    rate: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """The p99 before, the seconds until a piece is back, and the later p99."""

    before_p99_ms: float
    back_seconds: float
    later_p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one overload; `late_ms` is the p99 of how late the client sent."""

    parts: Parts
    requests: int
    lists: int
    full: int
    refused: int
    degraded: Mapping[str, int]
    faults: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    late_ms: float
    unsent: int
    refusal: RefusalCost
    recovery: Recovery

    @property
    def full_rate(self) -> float:
        """Return the full lists a second."""
        return self.full / self.parts.seconds


def figures(window: Window, answers: Answers, parts: Parts, refusal: RefusalCost) -> Figures:
    """Take all figures of a run; its window and `answers` hold all three parts."""
    due = (window.records["intended"] - window.start_ns) / 1e9
    rungs = answers.rungs[(due >= parts.around) & (due < parts.stop)]
    before, during = window.between(0, parts.around), window.between(parts.around, parts.stop)
    sent = during.records["error"] != Fault.UNSENT
    late = np.where(sent, during.records["sent"] - during.records["intended"], np.inf) / 1e6
    times = during.times_ms()[status_200(during.records)]
    return Figures(
        parts=parts,
        requests=len(during),
        lists=len(times),
        full=during.full(),
        refused=int(np.count_nonzero(during.records["status"] == 503)),
        degraded=dict(Counter(rung for rung in rungs.tolist() if rung)),
        faults=answers.faults,
        p50_ms=_quantile(times, 0.5),
        p99_ms=_quantile(times, 0.99),
        late_ms=_quantile(late, 0.99),
        unsent=int(np.count_nonzero(~sent)),
        refusal=refusal,
        recovery=recovery(before, window.between(parts.stop, parts.stop + parts.around), parts.stop),
    )


def recovery(before: Window, after: Window, stop: float) -> Recovery:
    """Compare the load `after` with the one `before`; `stop` is where `after` begins.

    Pieces of half a second slide by a tenth; one is back if its p99 is at most 1.2 times that of all of `before`.
    """
    reference = p99_of_lists(before)
    back = math.inf
    for k in range(round((after.seconds - PIECE) / STEP) + 1):
        begin = stop + k * STEP
        if p99_of_lists(after.between(begin, begin + PIECE)) <= RECOVERED * reference < math.inf:
            back = k * STEP + PIECE
            break
    later = after.between(stop + RECOVERY_SECONDS, math.inf)
    return Recovery(reference, back, p99_of_lists(later))


def p99_of_lists(window: Window) -> float:
    """Return p99 in milliseconds, answers other than 200 infinitely slow; infinite for no requests."""
    return _quantile(np.where(status_200(window.records), window.times_ms(), np.inf), 0.99)


def judge(f: Figures) -> list[Check]:
    """Judge each target."""
    r = f.recovery
    ratio = r.later_p99_ms / r.before_p99_ms if r.before_p99_ms < math.inf else math.inf
    least = FULL_SHARE * f.parts.goodput
    share = f.full_rate / f.parts.goodput
    return [
        Check(
            "answers that are neither a valid list nor a 503 with Retry-After", "none", counts(f.faults), not f.faults
        ),
        Check("p99 of the lists", f"≤ {TOLERATED_MS:.1f} ms", f"{f.p99_ms:.2f} ms", f.p99_ms <= TOLERATED_MS),
        Check("full lists a second", f"≥ {least:.0f}", f"{f.full_rate:.0f} ({share:.0%})", f.full_rate >= least),
        Check("CPU of a refusal", f"< {REFUSAL_MS} ms", f"{f.refusal.cpu_ms:.3f} ms", f.refusal.cpu_ms < REFUSAL_MS),
        Check(
            f"p99 of {PIECE} s back within {RECOVERED} × before",
            f"≤ {RECOVERY_SECONDS:g} s after the load",
            f"{r.back_seconds:.1f} s" if r.back_seconds < math.inf else "not at all",
            r.back_seconds <= RECOVERY_SECONDS,
        ),
        Check(
            f"p99 from {RECOVERY_SECONDS:g} s after the load on",
            f"≤ {RECOVERED} × {r.before_p99_ms:.2f} ms before",
            f"{r.later_p99_ms:.2f} ms ({ratio:.2f} ×)",
            ratio <= RECOVERED,
        ),
    ]


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q, method="inverted_cdf")) if len(values) else math.inf
