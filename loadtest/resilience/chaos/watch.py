"""Watch a service's memory and its event loop while something is done to it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil

from loadtest.resilience.chaos.wire import Wire, head
from loadtest.rig.server import tree

LIVE: Final = head("GET", "/v2/health/live")
_MIB: Final = 2.0**20


class MemoryWatch:
    """Sample the resident memory of every process of a tree, and keep the largest."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch")
        self.peak_mb = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Sample while the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def largest_mb(self) -> float:
        """Return the largest resident memory among the processes, now."""
        sizes = [0.0]
        for pid in tree(self._root):
            with contextlib.suppress(psutil.Error):
                sizes.append(psutil.Process(pid).memory_info().rss / _MIB)
        return max(sizes)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.peak_mb = max(self.peak_mb, self.largest_mb())


class LoopProbe:
    """Ask for `/v2/health/live` all the time on one connection, and keep the longest answer.

    Of one process that is the longest time for which its event loop did not turn, plus the time of a small request.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def longest_ms(self, act: Callable[[], object]) -> float:
        """Return the longest answer while `act` runs."""
        stop, longest = threading.Event(), [0.0]

        def ping() -> None:
            with Wire(self._port, 30.0) as wire:
                while not stop.is_set():
                    sent = time.monotonic()
                    wire.send(LIVE)
                    wire.reply()
                    longest[0] = max(longest[0], (time.monotonic() - sent) * 1e3)
                    time.sleep(0.001)

        thread = threading.Thread(target=ping, name="loop-probe")
        thread.start()
        try:
            time.sleep(0.05)
            act()
            time.sleep(0.05)
        finally:
            stop.set()
            thread.join()
        return longest[0]

    def stall_ms(self, act: Callable[[], object], repeats: int = 5) -> float:
        """Return the least over `repeats` of the longest answer.

        What one request causes is there each time; what else the machine does is not.
        """
        return min(self.longest_ms(act) for _ in range(repeats))
