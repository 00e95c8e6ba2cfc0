"""Limit the rate of requests with a token bucket."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """Let through at most `rate`·t + `burst` requests in any t seconds.

    `clock` gives seconds and never goes back. Used from the event loop only.
    """

    __slots__ = ("_burst", "_clock", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._last = clock()

    def take(self) -> bool:
        """Take one token; False if there is none."""
        if self.is_empty:
            return False
        self._tokens -= 1
        return True

    @property
    def is_empty(self) -> bool:
        """Tell whether the next request has to wait."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        return self._tokens < 1
