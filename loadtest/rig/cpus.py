"""Keep a server and its client on different CPUs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """Name the CPUs of the server, and those of everything that measures it."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Say whether the client competes with the server for its CPUs."""
        return bool(set(self.server) & set(self.client))

    @classmethod
    def of(cls, available: Collection[int], server_cpus: int) -> Split:
        """Give the server the first `server_cpus`. Raises `ValueError` for too few or many."""
        cpus = tuple(sorted(available))
        if not 1 <= server_cpus <= len(cpus):
            raise ValueError(f"--cpus: must be 1 to {len(cpus)}, the CPUs of this process, not {server_cpus}")
        return cls(cpus[:server_cpus], cpus[server_cpus:] or cpus)


@contextmanager
def on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Run this thread and the processes that it starts on `cpus`, if any.

    A process inherits the CPUs of the thread that starts it, so no thread of it ever runs elsewhere.
    """
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
