"""Run the compiled client and read its records.

`run_load` waits for the end; `running` lets something else happen meanwhile. Times are on
CLOCK_MONOTONIC, which is also `time.monotonic_ns`, so events can be placed between requests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtest.rig.openloop.build import client_program
from loadtest.rig.openloop.window import RECORD, Hiccups, Window

DEFAULT_CONNECTIONS: Final = 256
DEFAULT_DRAIN: Final = 2.0


class ClientError(RuntimeError):
    """Report a client that could not run; the message is its own."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Describe a load: `rate` requests per second, or a closed loop of `connections`.

    `drain` is how many seconds stragglers are waited for. `cpu` pins the client. `keep_bodies` keeps every answer's
    body. `then` are further stretches of the same run, in the open loop: pairs of a rate and seconds, each directly
    after the one before.
    """

    seconds: float
    rate: float | None = None
    connections: int = DEFAULT_CONNECTIONS
    cpu: int | None = None
    drain: float = DEFAULT_DRAIN
    keep_bodies: bool = False
    then: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.connections < 1 or self.drain < 0 or (self.rate is not None and not self.rate > 0):
            raise ValueError(f"seconds, rate and connections must be positive: {self}")
        if self.then and (self.rate is None or min(min(stretch) for stretch in self.then) <= 0):
            raise ValueError(f"then: rates and seconds must be positive, and the loop open: {self}")

    @property
    def total_seconds(self) -> float:
        return self.seconds + sum(seconds for _, seconds in self.then)

    def arguments(self) -> list[str]:
        cpu = [] if self.cpu is None else [f"--cpu={self.cpu}"]
        loop = "--closed-loop" if self.rate is None else f"--rate={self.rate}"
        stretches = [f"--then={rate}:{seconds}" for rate, seconds in self.then]
        times = (f"--seconds={self.seconds}", f"--drain={self.drain}", f"--connections={self.connections}")
        return [loop, *times, *cpu, *stretches]


class Running:
    """A client at work; `start_ns` is its first intended start."""

    def __init__(self, process: subprocess.Popen[str], load: Load, folder: Path) -> None:
        self._process = process
        self._load = load
        self._folder = folder
        self._before = _cpu_ticks()
        self.start_ns = int(self._next_line()["start_ns"])

    def window(self) -> Window:
        """Wait for the end. Raises `ClientError`."""
        end = self._next_line()
        self._process.wait()
        after = _cpu_ticks()
        cpus = sorted(os.sched_getaffinity(0) & self._before.keys() & after.keys())
        steal = {cpu: _steal(self._before[cpu], after[cpu]) for cpu in cpus}
        return Window(
            records=np.fromfile(self._folder / "records", RECORD),
            start_ns=self.start_ns,
            seconds=float(end["seconds"]),
            hiccups=Hiccups(end["hiccups"], end["hiccup_p99_ms"], end["hiccup_max_ms"]),
            steal=steal,
            client_cpu_seconds=end["loop_cpu_seconds"],
            run_requests=end["requests"],
            bodies=(self._folder / "bodies").read_bytes() if self._load.keep_bodies else None,
        )

    def _next_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise ClientError((self._folder / "errors").read_text("utf-8", "replace").strip())
        return dict(json.loads(line))


@contextlib.contextmanager
def running(port: int, messages: Sequence[bytes], load: Load) -> Iterator[Running]:
    """Send `messages` in turn to 127.0.0.1:`port` while the context lasts.

    Raises `ClientError`, or `loadtest.rig.openloop.build.ClientUnavailable` where there is no compiler.
    """
    program = client_program()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "messages").write_bytes(b"".join(struct.pack("<I", len(m)) + m for m in messages))
        files = [f"--messages={folder / 'messages'}", f"--out={folder / 'records'}"]
        if load.keep_bodies:
            files.append(f"--bodies={folder / 'bodies'}")
        command = [str(program), f"--port={port}", *files, *load.arguments()]
        with (
            (folder / "errors").open("wb") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            try:
                yield Running(process, load, folder)
            finally:
                process.kill()


def run_load(port: int, messages: Sequence[bytes], load: Load, *, warm_up: float = 0.0) -> Window:
    """Run a load to its end; its first `warm_up` seconds do not count."""
    whole = replace(load, seconds=load.seconds + warm_up)
    with running(port, messages, whole) as run:
        window = run.window()
    return window.between(warm_up, whole.total_seconds) if warm_up else window


def _cpu_ticks(stat: Path = Path("/proc/stat")) -> dict[int, list[int]]:
    """Return clock ticks since boot by CPU number; a CPU that is offline has none."""
    rows = [line.split() for line in stat.read_text("ascii").splitlines() if re.match(r"cpu\d", line)]
    # Guest time is part of user time already, so only the first eight fields add up to the total.
    return {int(name.removeprefix("cpu")): [int(field) for field in fields[:8]] for name, *fields in rows}


def _steal(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the share of a CPU's time that the hypervisor gave to others."""
    ticks = sum(after) - sum(before)
    return (after[7] - before[7]) / ticks if ticks else 0.0
