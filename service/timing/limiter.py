"""Limit log lines to one per key and interval, and count the rest.

A fault that every request meets would otherwise write a line per request.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final

_SECONDS: Final = 60.0
_MOST_KEYS: Final = 256
_OTHERS: Final = object()
"""Key of all keys for which there is no room."""


@dataclass(slots=True)
class _Pause:
    ends: float
    suppressed: int = 0


class LogLimiter:
    """Allow one line per key and interval.

    Keys beyond `most_keys` share one line per interval, so that the number of lines is bounded whatever the keys are.
    What was left out before a key's interval ended is told with its next line, if that comes before the key is
    forgotten. May be used from any thread; `clock` gives seconds and never goes back.
    """

    def __init__(
        self, *, seconds: float = _SECONDS, most_keys: int = _MOST_KEYS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._most_keys = most_keys
        self._clock = clock
        self._pauses: dict[Hashable, _Pause] = {}  # In the order of their ends, since all last equally long.
        self._lock = Lock()

    def ready(self, key: Hashable) -> int | None:
        """Return the number of lines left out since the last; None: leave this one out."""
        with self._lock:
            now = self._clock()
            if key not in self._pauses and not self._has_room(now):
                key = _OTHERS
            pause = self._pauses.get(key)
            if pause is not None and now < pause.ends:
                pause.suppressed += 1
                return None
            self._pauses.pop(key, None)
            self._pauses[key] = _Pause(now + self._seconds)
            return 0 if pause is None else pause.suppressed

    def _has_room(self, now: float) -> bool:
        """Forget the oldest keys if there are too many; tell whether another fits."""
        while len(self._pauses) >= self._most_keys:
            oldest = next(iter(self._pauses))
            if now < self._pauses[oldest].ends:
                return False
            del self._pauses[oldest]
        return True


def left_out(suppressed: int) -> str:
    """Return the end of a log line, which tells how many were left out."""
    return f" ({suppressed} more since the last such line)" if suppressed else ""
