"""Stop asking what fails again and again, and try it once in a while."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

_FAILURES: Final = 3
_SECONDS: Final = 1.0


class Breaker:
    """Count failures in a row; after `failures` of them allow one attempt every `seconds`.

    It is `closed` while everything is allowed. `clock` gives seconds and never goes back.
    """

    def __init__(
        self, *, failures: int = _FAILURES, seconds: float = _SECONDS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._in_a_row = 0
        self._next = 0.0

    @property
    def closed(self) -> bool:
        """Tell whether anything may be asked."""
        return self._in_a_row < self._most

    def may_try(self) -> bool:
        """Tell whether it is time for one attempt; if so, the next one is later."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def succeeded(self) -> None:
        """Allow everything again."""
        self._in_a_row = 0

    def failed(self) -> None:
        """Count one failure."""
        self._in_a_row += 1
        self._next = self._clock() + self._seconds
