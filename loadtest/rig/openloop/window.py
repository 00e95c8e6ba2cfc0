"""Hold the rows that the C client wrote, and take figures from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Records = NDArray[Any]
"""A structured array of `RECORD`, one row per request."""

_COLUMNS: Final = (
    *(("<i8", "intended sent done body_offset"), ("<u4", "body_length message"), ("<f4", "infer_ms")),
    *(("<u4", "connection"), ("<u2", "status"), ("u1", "list retry_after error fully_sent problem")),
)
RECORD: Final = np.dtype([(name, kind) for kind, names in _COLUMNS for name in names.split()], align=True)
"""The rows that the C client writes, one per request (`struct record` in pool.h).

Times are nanoseconds of CLOCK_MONOTONIC, 0 for what never was; `infer_ms` is NaN where the body does not say.

`retry_after` and `problem` say whether an answer has that header, and the media type application/problem+json.
"""


class DegradedField(IntEnum):
    """Values of the column `list`: the body's field `degraded`."""

    UNSAID = 0
    NULL = 1
    YES = 2


class Fault(IntEnum):
    """Values of the column `error`: why a request has no answer."""

    NONE = 0
    CONNECT = 1
    """No connection could be made, so not a byte was sent."""
    RESET = 2
    """Reset before any byte of the answer: the server's kernel still held unread bytes, or the server was gone."""
    CLOSED = 3
    """Closed in order before any byte of the answer: the server had read all that was sent."""
    CUT = 4
    """Closed or reset in the middle of the answer."""
    TIMEOUT = 5
    """Sent, but not answered when the wait for stragglers ended."""
    MALFORMED = 6
    """The answer is not HTTP/1.1 with a length."""
    UNSENT = 7
    """Never sent, because no connection came free."""


def answered(records: Records) -> Mask:
    """Mark the requests that have a whole answer, of any status."""
    return np.asarray(records["error"] == Fault.NONE)


def full_list(records: Records) -> Mask:
    """Mark the answers that are 200 with ``"degraded": null``: a list that the model made."""
    return np.asarray(answered(records) & (records["status"] == 200) & (records["list"] == DegradedField.NULL))


def status_200(records: Records) -> Mask:
    """Mark the answers that are 200; for servers that have no degraded lists."""
    return np.asarray(answered(records) & (records["status"] == 200))


def nearest_rank(times_ms: NDArray[np.float64], q: float) -> float:
    """Return a quantile that is a measured time; infinite for no requests."""
    return float(np.quantile(times_ms, q, method="inverted_cdf")) if len(times_ms) else math.inf


@dataclass(frozen=True, slots=True)
class Hiccups:
    """Count and sizes of delays of a thread on the client's CPU."""

    count: int
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Window:
    """Requests of one run.

    `steal` maps a CPU to the share of its time that the hypervisor gave to others.
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
        """Keep requests due `first` to `last` seconds after the start; hiccups stay."""
        due = (self.records["intended"] - self.start_ns) / 1e9
        part = self.records[(due >= first) & (due < last)]
        return replace(self, records=part, seconds=min(last, self.seconds) - first)

    def where(self, mask: Mask) -> Window:
        """Keep some requests of the same stretch of time."""
        return replace(self, records=self.records[mask])

    @property
    def answered(self) -> Mask:
        return answered(self.records)

    @property
    def errors(self) -> int:
        """Count the requests without a whole answer."""
        return int(np.count_nonzero(~self.answered))

    def times_ms(self) -> NDArray[np.float64]:
        """Return every request's time from intended start to answer; infinite without one."""
        times = (self.records["done"] - self.records["intended"]) / 1e6
        return np.where(self.answered, times, np.inf)

    def p99_ms(self) -> float:
        """Return the p99 with every answer but a 200 infinitely slow; infinite for no requests."""
        return nearest_rank(np.where(status_200(self.records), self.times_ms(), np.inf), 0.99)

    def answered_ms(self) -> list[float]:
        """Return the times of the answered requests, from intended start to answer."""
        return [float(ms) for ms in self.times_ms()[self.answered]]

    def full_ms(self) -> list[float]:
        """Return the times of all requests. Raises `ValueError` if one has no full list."""
        if self.full() < len(self):
            raise ValueError(f"answers without the model: {len(self) - self.full()} of {len(self)}, {self.statuses()}")
        return self.answered_ms()

    def statuses(self) -> dict[int, int]:
        """Count the answers by HTTP status."""
        return dict(sorted(Counter(self.records["status"][self.answered].tolist()).items()))

    def faults(self) -> dict[str, int]:
        """Count the requests without an answer by kind of fault."""
        counts = Counter(self.records["error"].tolist())
        return {fault.name.lower(): counts[fault] for fault in Fault if fault and counts[fault]}

    def failures(self) -> dict[str, int]:
        """Count the requests without a 200 or a 503, by status or kind of fault."""
        statuses = {f"status {status}": n for status, n in self.statuses().items() if status not in (200, 503)}
        return {**statuses, **self.faults()}

    @property
    def degraded_share(self) -> float:
        """Return the share of degraded lists among all lists; 0 where there are none."""
        kinds = self.records["list"][self.answered & (self.records["status"] == 200)]
        lists = int(np.count_nonzero(kinds != DegradedField.UNSAID))
        return int(np.count_nonzero(kinds == DegradedField.YES)) / lists if lists else 0.0

    def full(self, is_full: Callable[[Records], Mask] = full_list) -> int:
        return int(np.count_nonzero(is_full(self.records)))

    @property
    def client_cpu_us(self) -> float:
        """Return the microseconds of CPU that the client's loop used per request."""
        return self.client_cpu_seconds / max(self.run_requests, 1) * 1e6

    def body(self, row: int) -> bytes:
        """Return the body of the answer to `records[row]`. Raises `ValueError` if it was not kept."""
        offset = int(self.records["body_offset"][row])
        if self.bodies is None or offset < 0:
            raise ValueError(f"records[{row}]: its body was not kept")
        return self.bodies[offset : offset + int(self.records["body_length"][row])]

    def client_figures(self) -> dict[str, Any]:
        """Return the client's cost and how far its CPU was disturbed, as plain JSON types."""
        return {
            "hiccup_p99_ms": self.hiccups.p99_ms,
            "hiccup_max_ms": self.hiccups.max_ms,
            "steal": {str(cpu): round(share, 5) for cpu, share in self.steal.items()},
            "client_cpu_us": round(self.client_cpu_us, 2),
        }
