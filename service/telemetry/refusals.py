"""Count requests that are refused by their headers, several at a time.

Counting one at once would take a third of a refusal's time: other work has come between two of them, and what is
counted is no longer in the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, NamedTuple

from service.access.key import NO_KEY
from service.contract.problems import RATE_LIMITED
from service.telemetry.records import RequestOutcome

_AT_ONCE: Final = 16  # They take some 0.1 ms together.


class Refused(NamedTuple):
    """One refusal: reason, seconds since arrival, time on `monotonic`, and the key's name."""

    reason: str
    seconds: float
    ended: float
    key: str

    @property
    def outcome(self) -> RequestOutcome:
        """Outcome of the request: over its key's limit a 429, else a 503."""
        return "invalid" if self.reason == RATE_LIMITED.slug else "rejected"


class PendingRefusals:
    """Hold refusals until there are several, or until `flush`; then `count` is told of all."""

    def __init__(self, count: Callable[[Sequence[Refused]], None]) -> None:
        self._count = count
        self._pending: list[Refused] = []

    def add(self, reason: str, seconds: float, key: str = NO_KEY) -> None:
        """Note a refusal."""
        self._pending.append(Refused(reason, seconds, monotonic(), key))
        if len(self._pending) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Count what has been noted."""
        if self._pending:
            pending, self._pending = self._pending, []
            self._count(pending)
