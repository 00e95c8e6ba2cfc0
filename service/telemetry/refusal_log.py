"""Log refused requests: one line per client, key, reason and minute, with their number.

Under overload most requests are refused, and each by its headers alone. So one that has had its line is only counted,
which touches a dictionary and one object, and a timer tells the count when the minute is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

SECONDS: Final = 60.0
MOST: Final = 256
"""Clients, keys and reasons that are told apart at once."""

OTHERS: Final = "others"
"""Stands for the address of clients for which there is no room."""

_Key = tuple[str, str, str]


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after so many seconds."""


def on_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """Call a function later from the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Refused:
    """Requests that one client was refused for one reason.

    `count` of them have had no line yet. `request_id` and `trace_id` are those of the latest, as an example.
    """

    __slots__ = ("count", "ends", "key", "peer", "reason", "request_id", "status", "trace_id")

    def __init__(self, peer: str, key: str, reason: str, status: int) -> None:
        self.peer, self.key, self.reason, self.status = peer, key, reason, status
        self.count = 0
        self.ends = 0.0
        self.request_id = ""
        self.trace_id: str | None = None


class RefusalLog:
    """Have refusals of each kind logged: the first, then their number each minute.

    Kinds beyond `most` share those of `OTHERS`, so memory and lines are bounded whatever clients do. Used from the
    event loop only; `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        write: Callable[[Refused], None],
        *,
        seconds: float = SECONDS,
        most: int = MOST,
        clock: Callable[[], float] = monotonic,
        later: Later = on_loop,
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._later = later
        self._kinds: dict[_Key, Refused] = {}  # In the order of their ends, since all last equally long.
        self._timer: Timer | None = None

    def add(self, peer: str, key: str, reason: str, status: int, request_id: str, trace_id: str | None) -> None:
        """Note one refused request."""
        kind = self._kinds.get((peer, key, reason))
        if kind is not None:
            kind.count += 1
            kind.request_id, kind.trace_id = request_id, trace_id
        else:
            self._begin(peer, key, reason, status, request_id, trace_id)

    def flush(self) -> None:
        """Tell every count that has had no line, and forget all."""
        kinds, self._kinds = self._kinds, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for kind in kinds.values():
            if kind.count:
                self._write(kind)

    def _begin(self, peer: str, key: str, reason: str, status: int, request_id: str, trace_id: str | None) -> None:
        if len(self._kinds) >= self._most and peer != OTHERS:
            self.add(OTHERS, key, reason, status, request_id, trace_id)
            return
        kind = Refused(peer, key, reason, status)
        kind.count, kind.request_id, kind.trace_id = 1, request_id, trace_id
        self._tell(kind)
        if self._timer is None:
            self._timer = self._later(self._seconds, self._look)

    def _tell(self, kind: Refused) -> None:
        """Write the line of a kind, and begin its minute."""
        self._write(kind)
        kind.count = 0
        kind.ends = self._clock() + self._seconds
        self._kinds[kind.peer, kind.key, kind.reason] = kind

    def _look(self) -> None:
        """Tell the counts of the kinds whose minute is over; forget those without any."""
        self._timer = None
        now = self._clock()
        over = [kind for kind in self._kinds.values() if kind.ends <= now]
        for kind in over:
            del self._kinds[kind.peer, kind.key, kind.reason]
            if kind.count:
                self._tell(kind)
        if self._kinds:
            first = next(iter(self._kinds.values()))
            self._timer = self._later(max(first.ends - now, 0.001), self._look)
