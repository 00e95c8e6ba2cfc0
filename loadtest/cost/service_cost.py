"""What one request costs a running service on each side: its event loop, and everything else (the inference thread).

Linux counts the CPU time of every thread in nanoseconds. The event loop runs in the process's first thread, so its time
per request is the cost outside the engine; the rest is the engine with what surrounds it. It talks to the service over
HTTP and reads /proc; it knows nothing of how the service is built beyond that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.rig.closed_loop import ClosedBlock, ClosedLoop

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """Seconds of CPU time: the first thread's, and all others' together."""

    first: float
    others: float

    def __sub__(self, earlier: ThreadTime) -> ThreadTime:
        return ThreadTime(self.first - earlier.first, self.others - earlier.others)

    def __truediv__(self, parts: int) -> ThreadTime:
        return ThreadTime(self.first / parts, self.others / parts)


def thread_time(pid: int) -> ThreadTime:
    """What the living threads of a process have used so far. Raises `OSError` where /proc does not say."""
    tasks = _PROC / str(pid) / "task"
    seconds = {int(t.name): int((t / "schedstat").read_text("ascii").split()[0]) / 1e9 for t in tasks.iterdir()}
    return ThreadTime(seconds[pid], sum(value for tid, value in seconds.items() if tid != pid))


@dataclass(frozen=True, slots=True)
class CostedBlock:
    """A block of requests and the service's CPU time per request."""

    block: ClosedBlock
    cpu: ThreadTime


def costed_block(loop: ClosedLoop, pid: int, messages: Sequence[bytes], requests: int) -> CostedBlock:
    """Send a block of requests. Raises `ValueError` for a bad answer."""
    before = thread_time(pid)
    block = loop.block(messages, requests)
    return CostedBlock(block, (thread_time(pid) - before) / requests)


@dataclass(frozen=True, slots=True)
class Split:
    """CPUs for the server, and for everything that measures it; `shared` if there were not enough for both."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether the client competes with the server."""
        return bool(set(self.server) & set(self.client))

    @classmethod
    def of(cls, available: Collection[int], server_cpus: int) -> Split:
        """The first `server_cpus` for the server. Raises `ValueError` if there are fewer, or none are asked for."""
        cpus = tuple(sorted(available))
        if not 1 <= server_cpus <= len(cpus):
            raise ValueError(f"--cpus: must be 1 to {len(cpus)}, the CPUs of this process, not {server_cpus}")
        return cls(cpus[:server_cpus], cpus[server_cpus:] or cpus)


@contextmanager
def on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Run this thread on `cpus` only, while the context lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
