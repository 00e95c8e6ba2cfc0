"""Log refused requests: one line per client, key, reason and minute, with their number.

It has the refusals of both listeners and of all paths, and nothing else logs them. Under overload most requests are
refused, and each by its headers alone. So one that has had its line is only counted, which touches a dictionary and one
object, and a timer tells the count when the minute is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from service.access.key import NO_KEY
from service.telemetry.logs import log_fields
from service.transport.connections import RefusedHead
from service.transport.errors import KEPT_OUT

_log = logging.getLogger("service.requests")

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


class RefusalKind:
    """Requests that one client was refused for one reason.

    `count` of them have had no line yet. `request_id` and `trace_id` are those of the latest, as an example; `status`
    and `request_id` are None if it had no answer.
    """

    __slots__ = ("count", "ends", "key", "peer", "reason", "request_id", "status", "trace_id")

    def __init__(self, peer: str, key: str, reason: str, status: int | None) -> None:
        self.peer, self.key, self.reason, self.status = peer, key, reason, status
        self.count = 0
        self.ends = 0.0
        self.request_id: str | None = None
        self.trace_id: str | None = None


class RefusalLog:
    """Have refusals of each kind logged: the first, then their number each minute.

    Kinds beyond `most` share those of `OTHERS`, so memory and lines are bounded whatever clients do. Used from the
    event loop only; `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        *,
        write: Callable[[RefusalKind], None] | None = None,
        seconds: float = SECONDS,
        most: int = MOST,
        clock: Callable[[], float] = monotonic,
        later: Later = on_loop,
    ) -> None:
        self._write = write_refused if write is None else write
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._later = later
        self._kinds: dict[_Key, RefusalKind] = {}  # In the order of their ends, since all last equally long.
        self._timer: Timer | None = None

    def add(
        self, peer: str, key: str, reason: str, status: int | None, request_id: str | None, trace_id: str | None
    ) -> None:
        """Note one refused request."""
        kind = self._kinds.get((peer, key, reason))
        if kind is not None:
            kind.count += 1
            kind.request_id, kind.trace_id = request_id, trace_id
        else:
            self._begin(peer, key, reason, status, request_id, trace_id)

    def head(self, refused: RefusedHead) -> None:
        """Note one request that ended its connection before a handler saw it."""
        self.add(refused.peer, NO_KEY, refused.reason, refused.status, refused.request_id, None)

    def flush(self) -> None:
        """Tell every count that has had no line, and forget all."""
        kinds, self._kinds = self._kinds, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for kind in kinds.values():
            if kind.count:
                self._write(kind)

    def _begin(
        self, peer: str, key: str, reason: str, status: int | None, request_id: str | None, trace_id: str | None
    ) -> None:
        if len(self._kinds) >= self._most and peer != OTHERS:
            self.add(OTHERS, key, reason, status, request_id, trace_id)
            return
        kind = RefusalKind(peer, key, reason, status)
        kind.count, kind.request_id, kind.trace_id = 1, request_id, trace_id
        self._tell(kind)
        if self._timer is None:
            self._timer = self._later(self._seconds, self._look)

    def _tell(self, kind: RefusalKind) -> None:
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


def write_refused(kind: RefusalKind) -> None:
    """Write the line of refused requests, as a warning unless their content is at fault."""
    theirs = kind.status is None or (kind.status < 500 and kind.status not in KEPT_OUT)
    told = {
        "peer": kind.peer,
        "key": kind.key,
        "reason": kind.reason,
        "status": kind.status,
        "refused": kind.count,
        "request_id": kind.request_id,
        "trace_id": kind.trace_id,
    }
    fields = {name: value for name, value in told.items() if value is not None}
    log_fields(_log, logging.INFO if theirs else logging.WARNING, "requests refused", fields)
