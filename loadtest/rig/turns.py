"""Servers side by side on the same CPUs, of which only one runs at a time; the others are stopped in their tracks.

An idle server may poll, and a waiting one may hold a queue, so those that are not measured get SIGSTOP. Before a
window the server is waited for until it uses no CPU, so that no window inherits the last one's backlog.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.cost.service_cost import Split
from loadtest.rig import processes
from loadtest.rig.goodput import Rules, Trial
from loadtest.rig.openloop.client import Load, closed_loop, open_loop
from loadtest.rig.openloop.contender import Contender, Endpoint
from loadtest.rig.openloop.window import Window

_QUIET: Final = 0.1
_QUIET_SHARE: Final = 0.25
_LONGEST_WAIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """One contender with its server and the requests as it takes them, on CPUs of their own."""

    contender: Contender
    endpoint: Endpoint
    messages: Sequence[bytes]
    client_cpu: int

    @property
    def name(self) -> str:
        return self.contender.name

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run while the context lasts."""
        _signal(self.endpoint.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.settle()
            _signal(self.endpoint.pid, signal.SIGSTOP)

    def settle(self) -> None:
        """Wait until the server has nothing left to do, at most ten seconds."""
        deadline = time.monotonic() + _LONGEST_WAIT
        before = self.endpoint.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            now = self.endpoint.cpu_seconds()
            if now - before <= _QUIET * _QUIET_SHARE:
                return
            before = now

    def closed(self, concurrency: int, seconds: float, warm_up: float) -> Window:
        """A window of the closed loop."""
        load = Load(seconds=seconds, connections=concurrency, cpu=self.client_cpu)
        return closed_loop(self.endpoint.port, self.messages, load, warm_up=warm_up)

    def open(self, rate: float, seconds: float, warm_up: float) -> Window:
        """A window of the open loop, after the last one's backlog has gone."""
        self.settle()
        load = Load(rate=rate, seconds=seconds, cpu=self.client_cpu)
        return open_loop(self.endpoint.port, self.messages, load, warm_up=warm_up)

    def trial(self, rate: float, seconds: float, warm_up: float, rules: Rules) -> Trial:
        """`open`, judged."""
        return rules.judge(self.open(rate, seconds, warm_up), rate, self.contender.is_full)


@contextlib.contextmanager
def arena(contenders: Sequence[Contender], bodies: Sequence[bytes], split: Split) -> Iterator[list[Place]]:
    """All contenders started, asked a few times, and stopped in their tracks. Raises `ServerError`."""
    with contextlib.ExitStack() as stack:
        places = []
        for contender in contenders:
            endpoint = stack.enter_context(contender.start(split.server))
            place = Place(contender, endpoint, contender.messages(endpoint, bodies), split.client[0])
            stack.callback(_signal, endpoint.pid, signal.SIGCONT)  # Before its own end: a stopped one ignores SIGTERM.
            with place.awake():
                place.closed(8, 2.0, 0.0)
            places.append(place)
        yield places


def _signal(pid: int, number: signal.Signals) -> None:
    for member in processes.tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)
