"""Limit waiting by this process's own running time, and notice workers that stop beating.

A process that was stopped or starved, or whose clock jumped, must not take that time for another's silence.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final, TypeVar

BEAT_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 5 * BEAT_SECONDS
"""A worker that has missed so many beats hangs."""

START_SECONDS: Final = 60.0
"""Most time for a new worker to import what it needs and beat for the first time."""

_STEP_SECONDS: Final = 0.25

ResultT = TypeVar("ResultT")


async def within(waited: asyncio.Future[ResultT], seconds: float) -> ResultT:
    """Wait for a future, at most so many seconds of this process's own time.

    A step of waiting that takes twice its time does not count, since what came meanwhile has not been read yet; but
    the number of those is limited too. Raises `TimeoutError`; the future is not cancelled.
    """
    most = math.ceil(seconds / _STEP_SECONDS)
    counted = extra = 0
    while not waited.done():
        if counted >= most or extra > most:
            raise TimeoutError
        began = time.monotonic()
        await asyncio.wait({waited}, timeout=_STEP_SECONDS)
        if time.monotonic() - began < 2 * _STEP_SECONDS:
            counted += 1
        else:
            extra += 1
    return waited.result()


class Pulse:
    """Follow the beats of one worker."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._stopped = False
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_begun(self) -> bool:
        """Tell whether the worker has beaten, or has gone."""
        return self._begun.is_set()

    async def begins(self) -> None:
        """Wait for the first beat, or until the worker has gone."""
        await self._begun.wait()

    def beat(self) -> None:
        """Note a beat."""
        self._wake()

    def stop(self) -> None:
        """Note that no more beats will come."""
        self._stopped = True
        self._wake()

    async def watch(self) -> None:
        """Return when no more beats will come. Raises `TimeoutError` if the worker hangs."""
        limit = START_SECONDS
        while not self._stopped:
            await within(self._next, limit)
            self._next = asyncio.get_running_loop().create_future()
            limit = SILENT_SECONDS

    def _wake(self) -> None:
        self._begun.set()
        if not self._next.done():
            self._next.set_result(None)
