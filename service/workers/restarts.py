"""Say how long to wait before a process that ended is replaced."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

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
