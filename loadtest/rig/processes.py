"""Processes from the outside: pin them to CPUs, find a whole tree of them, and say what it costs. Linux's /proc only.

A tree is a process, its descendants, and whoever shares the session that it leads, so that a worker whose parent has
died is still found. Knows nothing about servers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_PIN: Final = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execvp(sys.argv[2], sys.argv[2:])"
)
_MB: Final = 1024.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (MiB) over a tree. `pss_mb` counts a page that k processes share as a k-th for each."""

    rss_mb: float
    pss_mb: float
    processes: int


class Usage(NamedTuple):
    """One row of /proc/stat: clock ticks since boot of one CPU."""

    total: int
    steal: int


class _Stat(NamedTuple):
    parent: int
    session: int
    ticks: int
    state: str


def pinned(command: Sequence[str], cpus: Sequence[int]) -> list[str]:
    """The command so that it and all that it starts run on `cpus` only; unchanged for none.

    The affinity is set before the command starts, so no thread of it ever runs elsewhere.
    """
    if not cpus:
        return list(command)
    return [sys.executable, "-c", _PIN, ",".join(map(str, cpus)), *command]


def tree(pid: int) -> list[int]:
    """Living process ids of the tree of `pid`, zombies left out; empty when all of it has gone."""
    stats = {int(p.name): s for p in _PROC.iterdir() if p.name.isdigit() and (s := _stat(int(p.name))) is not None}
    found = {p for p, s in stats.items() if p == pid or s.session == pid}
    while more := {p for p, s in stats.items() if s.parent in found} - found:
        found |= more
    return sorted(p for p in found if stats[p].state not in "ZX")


def end_on_sigterm() -> None:
    """Let SIGTERM unwind this process as an interrupt does, so that the servers which it started end with it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def stop_tree(process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM to the root of a tree, which should stop its own; what is left after `seconds` is killed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    for pid in tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree, of children that have ended and were waited for too; to a clock tick each."""
    return sum(s.ticks for p in tree(pid) if (s := _stat(p)) is not None) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """Resident memory of the tree."""
    members = tree(pid)
    rollups = [_rollup(p) for p in members]
    return Memory(sum(r for r, _ in rollups) / _MB, sum(p for _, p in rollups) / _MB, len(members))


def cpu_usage(cpu: int) -> Usage:
    """Ticks of one CPU. Raises `ValueError` if there is no such CPU."""
    for line in (_PROC / "stat").read_text("ascii").splitlines():
        name, *fields = line.split()
        if name == f"cpu{cpu}":
            # Guest time is part of user time already, so only the first eight fields add up to the total.
            ticks = [int(field) for field in fields[:8]]
            return Usage(sum(ticks), ticks[7])
    raise ValueError(f"cpu: there is no CPU {cpu}")


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # The name before it may hold spaces and brackets.
    return _Stat(int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])), fields[0])


def _rollup(pid: int) -> tuple[int, int]:
    """Rss and Pss in KiB; zeros for a process that has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return sizes["Rss:"], sizes["Pss:"]
