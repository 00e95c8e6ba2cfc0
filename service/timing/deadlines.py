"""How long may the answer take? The least of the configured budget, the body's `timeout_ms` and the headers' wishes.

A wish in a header that makes no sense is ignored and counted: proxies write such headers, and a client cannot mend
them. In the body it is the client's own and an error (`schemas.py`). Times are in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

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
    """The shortest wish of the headers (infinite: there is none) and the names of those that were ignored."""
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
