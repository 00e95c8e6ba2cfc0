"""Count connections, heads that are refused, and this process's open files."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, get_args

from service.telemetry.instruments import Instruments, Reading
from service.transport.connections import HeadReason, RefusedHead, RefusedReason

_DESCRIPTORS: Final = Path("/proc/self/fd")


class ConnectionMetrics:
    """Hold the metrics of the public listener's connections."""

    def __init__(self, make: Instruments) -> None:
        self._connections = make.gauge("rerank_connections", "Open connections of clients.", "livesum")
        text = "Bytes of requests that have come in part."
        self._unfinished = make.gauge("rerank_unfinished_bytes", text, "livesum")
        text = "Connections that were answered 503 and closed."
        name = "rerank_connections_refused_total"
        self._refused = make.counts(name, text, "reason", get_args(RefusedReason))
        text = (
            "Requests that ended their connection by what was wrong with their HTTP, and that no other series counts."
        )
        self._heads = make.counts("rerank_heads_refused_total", text, "reason", get_args(HeadReason))
        text = "Open file descriptors of the process."
        opened = make.gauge("rerank_open_descriptors", text, "livemax")
        text = "Most file descriptors that the process may have open; NaN if there is no limit."
        limit = make.gauge("rerank_descriptor_limit", text, "livemax")
        self.readings: list[Reading] = [(opened, open_descriptors), (limit, descriptor_limit)]

    def watch(self, connections: Callable[[], int], unfinished_bytes: Callable[[], int]) -> None:
        """Read the gauges of connections when scraped."""
        self.readings += [(self._connections, connections), (self._unfinished, unfinished_bytes)]

    def refused(self, reason: RefusedReason) -> None:
        """Count a connection that was refused."""
        self._refused[reason].inc()

    def head_refused(self, refused: RefusedHead) -> None:
        """Count a request that ended its connection unseen."""
        self._heads[refused.reason].inc()


def open_descriptors() -> float:
    """Count the open files of this process; NaN where the system does not tell."""
    try:
        # Since Linux 6.2 the folder's size is their number, which takes 2 µs however many there are.
        return float(_DESCRIPTORS.stat().st_size or len(list(_DESCRIPTORS.iterdir())) - 1)
    except OSError:
        return math.nan


def descriptor_limit() -> float:
    """Return the most files that this process may open; NaN: any number."""
    if sys.platform == "win32":
        return math.nan
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.nan if soft == resource.RLIM_INFINITY else float(soft)
