"""What one run of the client measured, and the figures that are taken from it. Knows nothing about how it was run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.rig.latency import Latency
from loadtest.rig.openloop.records import Degraded, Fault, Records, answered, full_list

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hiccups:
    """By how much a thread on the client's CPU that slept 1 ms overslept. `buckets[k]`: so many under 2^k µs."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Requests of one run. `steal` maps a CPU to the share of its time that the hypervisor gave to others.

    `client_cpu_seconds` is user and system time of the client's loop, over the whole run. `bodies` holds all the
    answers' bodies one after the other, if they were kept.
    """

    records: Records
    start_ns: int
    seconds: float
    hiccups: Hiccups
    steal: Mapping[int, float]
    client_cpu_seconds: float
    run_requests: int
    bodies: bytes | None = None

    def __len__(self) -> int:
        return len(self.records)

    def between(self, first: float, last: float) -> Window:
        """The requests that were due from `first` to `last` seconds after the start. Hiccups stay the whole run's."""
        due = (self.records["intended"] - self.start_ns) / 1e9
        part = self.records[(due >= first) & (due < last)]
        return replace(self, records=part, seconds=min(last, self.seconds) - first)

    def where(self, mask: Mask) -> Window:
        """Only some requests, of the same stretch of time."""
        return replace(self, records=self.records[mask])

    @property
    def answered(self) -> Mask:
        """Which requests have a whole answer."""
        return answered(self.records)

    @property
    def errors(self) -> int:
        """Requests without a whole answer."""
        return int(np.count_nonzero(~self.answered))

    @property
    def retried(self) -> int:
        """Requests that were sent a second time, because their first connection was closed without an answer."""
        return int(np.count_nonzero(self.records["retries"]))

    def times_ms(self) -> NDArray[np.float64]:
        """From intended start to the end of the answer, for every request; infinite for those without an answer."""
        times = (self.records["done"] - self.records["intended"]) / 1e6
        return np.where(self.answered, times, np.inf)

    def latency(self, mask: Mask | None = None) -> Latency:
        """Percentiles over the answered requests (of `mask`). Raises `ValueError` if there are none."""
        chosen = self.answered if mask is None else self.answered & mask
        return Latency.of(self.times_ms()[chosen].tolist())

    def infer_ms(self) -> NDArray[np.float64]:
        """Inference as the answers state it, for those that do."""
        times = self.records["infer_ms"][self.answered].astype(np.float64)
        return np.asarray(times[~np.isnan(times)])

    def statuses(self) -> dict[int, int]:
        """HTTP status to how many answers have it."""
        return dict(sorted(Counter(self.records["status"][self.answered].tolist()).items()))

    def faults(self) -> dict[str, int]:
        """Kind of fault to how many requests ended with it."""
        counts = Counter(self.records["error"].tolist())
        return {fault.name.lower(): counts[fault] for fault in Fault if fault and counts[fault]}

    @property
    def degraded_share(self) -> float:
        """Degraded lists among all lists; 0 where there are none."""
        kinds = self.records["list"][self.answered & (self.records["status"] == 200)]
        lists = int(np.count_nonzero(kinds != Degraded.UNSAID))
        return int(np.count_nonzero(kinds == Degraded.YES)) / lists if lists else 0.0

    def full(self, is_full: Callable[[Records], Mask] = full_list) -> int:
        """Answers of full quality."""
        return int(np.count_nonzero(is_full(self.records)))

    @property
    def client_cpu_us(self) -> float:
        """Microseconds of CPU that the client's loop used per request of the run."""
        return self.client_cpu_seconds / max(self.run_requests, 1) * 1e6

    def body(self, row: int) -> bytes:
        """The body of the answer to `records[row]`. Raises `ValueError` if it was not kept."""
        offset = int(self.records["body_offset"][row])
        if self.bodies is None or offset < 0:
            raise ValueError(f"records[{row}]: its body was not kept")
        return self.bodies[offset : offset + int(self.records["body_length"][row])]

    def summary(self) -> dict[str, Any]:
        """The figures as plain JSON types."""
        latency = self.latency() if self.answered.any() else None
        return {
            "requests": len(self),
            "errors": self.errors,
            "faults": self.faults(),
            "statuses": self.statuses(),
            "full": self.full(),
            "degraded_share": self.degraded_share,
            "retried": self.retried,
            "p50_ms": latency and latency.p50,
            "p99_ms": latency and latency.p99,
            "worst_ms": latency and latency.worst,
            "hiccup_p99_ms": self.hiccups.p99_ms,
            "hiccup_max_ms": self.hiccups.max_ms,
            "steal": {str(cpu): round(share, 5) for cpu, share in self.steal.items()},
            "client_cpu_us": round(self.client_cpu_us, 2),
        }
