"""Run servers in turn on the same CPUs: all but one are suspended.

An idle server may poll, and a waiting one may hold a queue, so those that are not measured get SIGSTOP. Before each
window the server must have stopped using its CPU, so that no window inherits a backlog.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from loadtest.rig.contender import Contender, Endpoint
from loadtest.rig.cpus import Split
from loadtest.rig.goodput import Rules, Trial
from loadtest.rig.openloop.client import Load, run_load
from loadtest.rig.openloop.window import Window

_QUIET: Final = 0.1
_QUIET_SHARE: Final = 0.25
_LONGEST_WAIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """One running contender with its requests, and the CPU of the client."""

    contender: Contender
    endpoint: Endpoint
    messages: Sequence[bytes]
    client_cpu: int

    @property
    def name(self) -> str:
        """Return the name of the contender."""
        return self.contender.name

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run while the context lasts."""
        self.resume()
        try:
            yield
        finally:
            self.settle()
            self._suspend()

    def resume(self) -> None:
        """Let every process of the server run."""
        for process in self.endpoint.processes():
            with contextlib.suppress(psutil.Error):
                process.resume()

    def _suspend(self) -> None:
        for process in self.endpoint.processes():
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def settle(self) -> None:
        """Wait until the server has nothing left to do, for at most ten seconds."""
        deadline = time.monotonic() + _LONGEST_WAIT
        before = self.endpoint.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            now = self.endpoint.cpu_seconds()
            if now - before <= _QUIET * _QUIET_SHARE:
                return
            before = now

    def closed(self, concurrency: int, seconds: float, warm_up: float) -> Window:
        """Measure a window of the closed loop."""
        load = Load(seconds=seconds, connections=concurrency, cpu=self.client_cpu)
        return run_load(self.endpoint.port, self.messages, load, warm_up=warm_up)

    def open(self, rate: float, seconds: float, warm_up: float) -> Window:
        """Measure a window of the open loop, once the last backlog has gone."""
        self.settle()
        load = Load(rate=rate, seconds=seconds, cpu=self.client_cpu)
        return run_load(self.endpoint.port, self.messages, load, warm_up=warm_up)

    def trial(self, rate: float, seconds: float, warm_up: float, rules: Rules) -> Trial:
        """Measure a window of the open loop and judge it."""
        return rules.judge(self.open(rate, seconds, warm_up), rate, self.contender.is_full)


@contextlib.contextmanager
def arena(contenders: Sequence[Contender], bodies: Sequence[bytes], split: Split) -> Iterator[list[Place]]:
    """Start all contenders, send each a few requests, and suspend it. Raises `ServerError`."""
    with contextlib.ExitStack() as stack:
        places = []
        for contender in contenders:
            endpoint = stack.enter_context(contender.start(split.server))
            place = Place(contender, endpoint, contender.messages(endpoint, bodies), split.client[0])
            stack.callback(place.resume)  # Before its own end: a suspended process ignores SIGTERM.
            with place.awake():
                place.closed(8, 2.0, 0.0)
            places.append(place)
        yield places
