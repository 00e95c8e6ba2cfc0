"""The hard cap on requests in progress, decided from nothing but a counter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from service.problems import OVERLOADED, unavailable


class Gate:
    """Lets at most `limit` requests in at once. Used from the event loop only."""

    def __init__(self, *, limit: int, retry_after_seconds: int) -> None:
        self._limit = limit
        self._retry_after = retry_after_seconds
        self.in_flight = 0

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of those in progress. Raises `Problem` (503) when there is no room."""
        if self.in_flight >= self._limit:
            raise unavailable(OVERLOADED, f"{self._limit} requests are already in progress", self._retry_after)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
