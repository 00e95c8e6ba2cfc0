"""Judge a long run under constant load: memory, files, threads, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.rig.openloop.window import DegradedField, Window, nearest_rank, status_200
from loadtest.rig.subject import Check, counts

GROWTH: Final = 0.02
"""Most growth of resident memory from the end of the warm-up to the end of the run, as a share."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the service's processes, `second` seconds after the start of the load.

    `files` are open files that are no sockets, `steady` is False while a reload is on its way.
    """

    second: float
    rss_mb: float
    files: int
    sockets: int
    threads: int
    processes: int
    steady: bool = True


@dataclass(frozen=True, slots=True)
class Growth:
    """The straight line through memory: MiB at its start and MiB an hour."""

    start_mb: float
    mb_per_hour: float
    seconds: float

    @property
    def share(self) -> float:
        """Growth over the run as a share of the memory at the line's start."""
        return self.mb_per_hour * self.seconds / 3600 / self.start_mb

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Growth:
        """Fit the line by least squares. Raises `ValueError` for fewer than three samples."""
        if len(samples) < 3:
            raise ValueError(f"a slope needs 3 samples or more after the warm-up, not {len(samples)}")
        seconds = np.array([s.second for s in samples])
        slope, start = np.polyfit(seconds - seconds[0], [s.rss_mb for s in samples], 1).tolist()
        return cls(start, slope * 3600, float(seconds[-1] - seconds[0]))


@dataclass(frozen=True, slots=True)
class Soaked:
    """The figures of one long run."""

    workers: int
    rate: float
    seconds: float
    requests: int
    growth: Growth
    files: tuple[int, int]
    threads: tuple[int, int]
    processes: tuple[int, int]
    p50_ms: float
    p99_ms: float
    degraded: float
    refused: float
    errors: Mapping[str, int]
    reloads: Mapping[str, int]
    scrapes: Mapping[str, int]
    slowest_scrape_ms: float


def after_warm_up(samples: Sequence[Sample], warm_up: float) -> list[Sample]:
    """Keep the samples after the warm-up and outside reloads."""
    return [s for s in samples if s.second >= warm_up and s.steady]


def most_at_both_ends(values: Sequence[int]) -> tuple[int, int]:
    """Return the largest value in the first quarter, and that in the last."""
    quarter = max(1, len(values) // 4)
    return max(values[:quarter]), max(values[-quarter:])


def figures(
    window: Window,
    samples: Sequence[Sample],
    *,
    workers: int,
    rate: float,
    warm_up: float,
    reloads: Mapping[str, int],
    scrapes: Mapping[str, int],
    slowest_scrape_ms: float,
) -> Soaked:
    """Take the figures of a run; memory, files and threads only after `warm_up` seconds."""
    kept = after_warm_up(samples, warm_up)
    times = window.times_ms()[status_200(window.records)]
    lists = window.records["list"]
    return Soaked(
        workers=workers,
        rate=rate,
        seconds=window.seconds,
        requests=len(window),
        growth=Growth.of(kept),
        files=most_at_both_ends([s.files for s in kept]),
        threads=most_at_both_ends([s.threads for s in kept]),
        processes=most_at_both_ends([s.processes for s in kept]),
        p50_ms=nearest_rank(times, 0.5),
        p99_ms=nearest_rank(times, 0.99),
        degraded=float(np.mean(lists == DegradedField.YES)),
        refused=float(np.mean(window.answered & (window.records["status"] == 503))),
        errors=window.failures(),
        reloads=reloads,
        scrapes=scrapes,
        slowest_scrape_ms=slowest_scrape_ms,
    )


def judge(f: Soaked) -> list[Check]:
    """Judge each target of one run.

    A process may start one more thread late: its pool for blocking work has as many as were ever needed at once.
    """
    name = f"{f.workers} worker{'s' if f.workers > 1 else ''}"
    good = {"status 200": f.reloads.get("status 200", 0)}
    bad_reloads = {what: n for what, n in f.reloads.items() if what not in good}
    bad_scrapes = {what: n for what, n in f.scrapes.items() if what not in good}
    return [
        Check(
            f"{name}: growth of memory",
            f"< {GROWTH:.0%}",
            f"{f.growth.share:+.2%} ({f.growth.mb_per_hour:+.1f} MiB an hour)",
            f.growth.share < GROWTH,
        ),
        *(
            Check(f"{name}: {what}", f"≤ {allowed} more at the end", f"{first} → {last}", last <= first + allowed)
            for what, (first, last), allowed in (
                ("open files", f.files, 0),
                ("threads", f.threads, f.processes[0]),
                ("processes", f.processes, 0),
            )
        ),
        Check(f"{name}: errors", "none", counts(f.errors), not f.errors),
        Check(f"{name}: reloads that failed", "none", counts(bad_reloads), not bad_reloads),
        Check(f"{name}: scrapes that failed", "none", counts(bad_scrapes), not bad_scrapes),
    ]
