"""Find the deadline of an answer, and tell what can still be done before it.

The deadline is the least of the configured budget, the body's `timeout_ms` and the timeouts in the headers. A timeout
in a header that cannot be read is ignored and counted: proxies write such headers, and a client cannot mend them. In
the body it is the client's own, and an error (`schemas.py`). Times are in seconds, points in time on `perf_counter`'s
clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

NEVER: Final = math.inf
"""The deadline of work that may take any time."""

LEAD_SECONDS: Final = 0.002
"""Time kept back before a deadline for answering without the model."""

FORMULA_SECONDS: Final = 0.0005
"""Time for one list by the score formula, from the decision to its last byte."""

CLOSE_SECONDS: Final = LEAD_SECONDS + 0.001
"""An answer of the model with less time left than this counts as late: the next one may be called back."""

_GRPC: Final = re.compile(r"(\d{1,8})([HMSmun])")
_GRPC_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_NUMBER: Final = re.compile(r"\d{1,12}(\.\d{1,12})?")


def _milliseconds(text: str) -> float | None:
    return float(text) / 1e3 if _NUMBER.fullmatch(text) else None


def _grpc(text: str) -> float | None:
    found = _GRPC.fullmatch(text)
    return int(found[1]) * _GRPC_UNITS[found[2]] if found else None


HEADERS: Final[Mapping[bytes, Callable[[str], float | None]]] = {
    b"x-request-timeout-ms": _milliseconds,
    b"x-envoy-expected-rq-timeout-ms": _milliseconds,
    b"grpc-timeout": _grpc,
}
"""Headers that say how long the caller waits, and how to read each; None for what makes no sense."""


def header_timeout(headers: Mapping[bytes, bytes]) -> tuple[float, tuple[str, ...]]:
    """Return the shortest timeout in the headers, or infinity, and the headers ignored."""
    shortest = math.inf
    ignored: list[str] = []
    for name, read in HEADERS.items():
        value = headers.get(name)
        if value is None:
            continue
        seconds = read(value.decode("latin-1").strip())
        if seconds is None or seconds <= 0:
            ignored.append(name.decode())
        else:
            shortest = min(shortest, seconds)
    return shortest, tuple(ignored)


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time at which the answer is due; unless `enforced`, it changes no answer."""

    at: float = NEVER
    enforced: bool = True

    @property
    def limit(self) -> float:
        """Time that the dispatcher must keep to."""
        return self.at if self.enforced else NEVER

    @property
    def too_late_for_formula(self) -> bool:
        """Tell whether only the order that came in can still be sent in time."""
        return self.enforced and perf_counter() > self.at - FORMULA_SECONDS


def in_time(wait: float, deadline: Deadline, *, clock: Callable[[], float] = perf_counter) -> bool:
    """Tell if a model's answer in `wait` seconds is in time; 0 always is."""
    return not wait or clock() + wait <= deadline.at - LEAD_SECONDS


def is_close(deadline: Deadline, *, clock: Callable[[], float] = perf_counter) -> bool:
    """Tell whether so little time is left that an answer now counts as late."""
    return clock() > deadline.at - CLOSE_SECONDS


def latest_starts(deadlines: Sequence[float], each: float = FORMULA_SECONDS) -> list[float]:
    """Return the latest time to begin with each list by the formula.

    The deadlines are in their order. From the last one back, each list leaves time for those behind it, `each` seconds.
    """
    latest = list(deadlines)
    for i in reversed(range(len(latest) - 1)):
        latest[i] = min(latest[i], latest[i + 1] - each)
    return latest
