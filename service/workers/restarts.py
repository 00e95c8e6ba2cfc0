"""Say how soon a process that ended is replaced, or that none can be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

REFUSED_SECONDS: Final = 10.0
"""Time between tries where it is not the process that fails, but what it is to load."""

_log = logging.getLogger(__name__)
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0
_MOST_DOUBLINGS: Final = 10
_LEAST_PER_MINUTE: Final = 10


class Restarts:
    """Count the starts of the last minute, of all places together."""

    def __init__(self, places: int) -> None:
        self.most = max(_LEAST_PER_MINUTE, 2 * places)
        """Most starts in a minute; more mean that starting again does not help."""
        self._times: deque[float] = deque()

    def next_delay(self) -> float | None:
        """Return the seconds before the next start, growing; None after too many."""
        now = time.monotonic()
        while self._times and self._times[0] < now - 60:
            self._times.popleft()
        if len(self._times) >= self.most:
            return None
        self._times.append(now)
        doublings = min(len(self._times) - 1, _MOST_DOUBLINGS)
        return min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0**doublings)


def tell_of_fault(keeper: asyncio.Task[None], kept: str, give_up: Callable[[str], None]) -> None:
    """Give up the service if what keeps `kept` running fails.

    Its place would stay empty.
    """

    def check(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("a fault in keeping %s running", kept, exc_info=error)
            give_up(f"{kept} cannot be replaced")

    keeper.add_done_callback(check)
