"""Run blocking work on a thread that nothing waits for when the process ends.

Threads of an executor are joined at the end of a process; one that hangs in native code would keep it alive for ever.

Python hands the interpreter over after 5 ms at the latest, which is a quarter of the usual latency budget. While work
is done aside it does so ten times as often, so that the event loop waits less for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

ASIDE: Final = "aside"
"""Name of such threads."""

_USUAL_SECONDS: Final = sys.getswitchinterval()
_SWITCH_SECONDS: Final = 0.0005
_NICEST: Final = 19

T = TypeVar("T")


async def run_aside(work: Callable[[], T]) -> T:
    """Run `work` on a thread of its own, and wait for it. Raises its errors.

    If this is cancelled the work goes on, and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            _tell(loop, _settle, future, error, None)
        else:
            _tell(loop, _settle, future, None, result)

    with _frequent_switches():
        threading.Thread(target=run, name=ASIDE, daemon=True).start()
        return await future


@contextlib.contextmanager
def _frequent_switches() -> Iterator[None]:
    """Let threads take turns more often; the first of several that ends puts it back."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(_USUAL_SECONDS)


def _tell(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
        loop.call_soon_threadsafe(*call)


def _settle(future: asyncio.Future[T], error: Exception | None, result: T) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


@contextlib.contextmanager
def low_priority(wanted: bool) -> Iterator[None]:
    """Run the calling thread at the lowest priority if `wanted`, then restore it.

    Putting it back needs a right that a process may lack; its thread then stays as it is, and should be one that ends.
    """
    if not wanted or sys.platform != "linux":
        yield
        return
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, _NICEST)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, before)
