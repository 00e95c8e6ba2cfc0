"""Find a run of the engine that hangs, and end its process.

A run in native code can be neither interrupted nor cancelled. It is given up, and so is its process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Final, NoReturn
from weakref import WeakKeyDictionary

from service.inference.aside import ASIDE
from service.inference.engine import Engine, EngineError
from service.inference.thread import INFERENCE, InferenceThread

_log = logging.getLogger(__name__)
HUNG_STATUS: Final = 70
"""Exit status of a process whose engine hung (EX_SOFTWARE of sysexits.h)."""

_LONGEST_TICK: Final = 0.25
_TICKS: Final = 8
"""So many looks at least within the limit."""

OnHang = Callable[[str], None]
"""Told the reason, which names the model."""


class EngineWatch:
    """Watch the inference thread from the event loop, and tell when a run hangs.

    Time counts only while this watch itself ran: a tick that comes late adds no more than two ticks' length, so that
    a process that was stopped or got no CPU, or a clock that jumped, is no hang. The limit is `hang_seconds` for a
    model that serves, and `load_seconds` for one that is being warmed. A thread that has ended is taken for one that
    hangs. Used from the event loop only.
    """

    def __init__(
        self, thread: InferenceThread, *, hang_seconds: float, load_seconds: float, on_hang: OnHang = lambda _: None
    ) -> None:
        self._thread = thread
        self._hang_seconds = hang_seconds
        self._load_seconds = max(load_seconds, hang_seconds)
        self._on_hang = on_hang
        self._served: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()
        self._tick = min(_LONGEST_TICK, hang_seconds / _TICKS)
        self._looked = perf_counter()
        self._run: object = None
        self._seconds = 0.0
        self.hung = False

    def know(self, engine: Engine, model: str) -> None:
        """Note the name and version of a model that serves from now on."""
        self._served[engine] = model

    async def wait(self) -> None:
        """Return once a run hangs; by then its requests have been given up."""
        while not self.look():
            await asyncio.sleep(self._tick)

    def look(self) -> bool:
        """Count the time since the last look; tell whether the present run hangs."""
        if self._thread.has_ended and not self.hung:
            self._give_up("the inference thread has ended because of a fault")
        now, run = perf_counter(), self._thread.current
        passed, self._looked = max(0.0, min(now - self._looked, 2 * self._tick)), now
        if run is None or run is not self._run:
            self._run, self._seconds = run, 0.0
            return self.hung
        self._seconds += passed
        served = self._served.get(run.engine)
        limit = self._load_seconds if served is None else self._hang_seconds
        if self._seconds > limit and not self.hung:
            model = served or "a model that is being loaded"
            self._give_up(f"the engine hangs in model {model}: a run has taken more than {limit:g} s")
        return self.hung

    def _give_up(self, reason: str) -> None:
        self.hung = True
        _log.error("%s; this process drains and ends", reason)
        self._on_hang(reason)
        self._thread.give_up(EngineError(reason))


async def stop_on_hang(watch: EngineWatch | None, stop: asyncio.Event) -> None:
    """Set `stop` once the engine of this process hangs, if it has one."""
    if watch is not None:
        await watch.wait()
        stop.set()


def threads_left() -> bool:
    """Tell whether a thread is left that the interpreter cannot end with."""
    return any(thread.name in (INFERENCE, ASIDE) for thread in threading.enumerate())


def end_process(status: int) -> NoReturn:
    """End the process at once, without waiting for its threads.

    Nor is ONNX Runtime closed while a thread is in it.
    """
    names = sorted({thread.name for thread in threading.enumerate()} & {INFERENCE, ASIDE})
    _log.warning("ending while work goes on in threads: %s", ", ".join(names))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
