"""Take a connection in or turn it away, and end it.

It ends after a fault, over a limit, or because its client does not read.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.access.failures import NO_PEER
from service.contract.problems import MEDIA_TYPE, OVERLOADED, Problem, unavailable
from service.transport.asgi import ANSWERED_KEY, request_id_of
from service.transport.connections import Connections, RefusedReason
from service.transport.gate import ReadGate

STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_LINGER_SECONDS: Final = 1.0


class Place(Enum):
    """The part of a request to which the next byte belongs."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2


# Looking a member up takes a few times as long as a global name does.
BETWEEN: Final = Place.BETWEEN
HEAD: Final = Place.HEAD
BODY: Final = Place.BODY


class EndingProtocol(HttpToolsProtocol):
    """One connection that is counted, and can end with an answer of its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections = connections
        self._refused_because: RefusedReason | None = None
        self._peer = ""
        self._place: Place = BETWEEN
        self._refused = False  # The body that comes now belongs to a request that has its answer.
        self._unanswered = 0
        self._unparsed: memoryview | None = None
        self._held = 0  # Bytes that count as unfinished.
        self._ended = False  # No byte that comes is parsed any more.
        self._farewell = b""
        self._linger_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._unsent_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or tell its client that there are too many."""
        super().connection_made(transport)
        self.flow = ReadGate(transport)
        self._peer = self.client[0] if self.client else NO_PEER
        descriptor = transport.get_extra_info("socket").fileno()
        self._refused_because = self._connections.admit(descriptor)
        if self._refused_because is None:
            self._connections.open += 1
        else:
            self._turn_away(self._refused_because, descriptor)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back all that the connection held."""
        self._ended = True
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        if self._refused_because is None:
            self._connections.open -= 1
        elif self._farewell:
            self._connections.lingering -= 1
        self._unparsed = None
        self._count(0)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Write again, as the client has taken something."""
        super().resume_writing()
        self._unsent = sys.maxsize  # So it looks like progress, whatever is added until the next look.

    def check_unsent(self, now: float) -> int:
        """Return the bytes in the write buffer, and cut off a client that takes none."""
        buffered = self.transport.get_write_buffer_size()
        size = buffered and buffered + _queued_bytes(self.transport)
        if not self._unsent or size < self._unsent:
            self._unsent_since = now
        self._unsent = size
        if size and now - self._unsent_since > self._connections.limits.read_seconds:
            self.transport.abort()
        return buffered

    def _discards(self) -> bool:
        """Tell whether the rest of the body belongs to a request that has its answer."""
        return self._refused or self.cycle is None or self.cycle.response_complete

    def _count(self, held: int) -> bool:
        """Note how many bytes are unfinished; tell whether the limits hold."""
        if held == self._held or (self._ended and held):
            return True
        change, self._held = held - self._held, held
        return self._connections.unfinished.change(self._peer, change)

    def _turn_away(self, reason: RefusedReason, descriptor: int) -> None:
        """Answer 503 to a connection that is one too many, and close it."""
        self._ended = True
        if not self._connections.may_linger(descriptor):
            self.transport.abort()
            return
        self._connections.lingering += 1
        why = "too many connections are open" if reason == "limit" else "too many files are open"
        problem = unavailable(OVERLOADED, why, self._connections.limits.retry_after_seconds)
        self._farewell = render(problem, secrets.token_hex(8))
        self._say_farewell()

    def _fail(self, problem: Problem) -> None:
        """Parse no more; answer `problem` once all earlier requests are answered, and close."""
        if self._ended:
            return
        self._ended = True
        scope = cast("dict[str, Any] | None", None if self._place is BETWEEN else self.scope)
        request_id = secrets.token_hex(8) if scope is None else request_id_of(scope, dict(scope["headers"]))
        self._unparsed = None
        self._farewell = render(problem, request_id)
        heard = self._place is BODY and self._give_up_request(problem)
        if not heard:
            self._connections.refuse_head(problem.kind.slug, self._peer, problem.kind.status, request_id)
        self._count(0)
        if self._unanswered:
            cast(ReadGate, self.flow).hold()
        else:
            self._say_farewell()

    def _give_up_request(self, problem: Problem) -> bool:
        """Drop the request whose body is faulty; an answered one gets no second answer.

        Tells whether it is recorded: by the answer that it has, or by the `problem`.
        """
        if self._discards() or self.cycle.response_started:
            self._farewell = b""
            return self._is_recorded()
        self._unanswered -= 1
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # It has not begun, and never will; earlier ones are in progress.
            return False
        cast("dict[str, Any]", self.scope)[ANSWERED_KEY] = problem
        self.cycle.disconnected = True
        self.cycle.waiting_for_100_continue = False  # Or it would write that when it begins, after the last answer.
        self.cycle.message_event.set()
        return self._is_recorded()

    def _is_recorded(self) -> bool:
        """Tell whether the request that is read is recorded, by its handler or a refusal."""
        scope = cast("dict[str, Any]", self.scope)  # Of a refused one it is not complete.
        own = scope.get("method") == "POST" and scope.get("path") in self._connections.recorded_paths
        return self._refused or own

    def _say_farewell(self) -> None:
        """Write the last answer, and close after the client has had a moment to read.

        Closing at once would lose the answer to a client that is still sending.
        """
        if self.transport.is_closing():
            return
        if not self._farewell:
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        self._linger_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        self.transport.write(self._farewell)
        self.transport.write_eof()
        cast(ReadGate, self.flow).release()


def render(problem: Problem, request_id: str) -> bytes:
    """Make a whole response that ends the connection."""
    body = msgspec.json.encode(problem.document(request_id))
    fields = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
    fields |= {"x-request-id": request_id, **problem.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINES[problem.kind.status] + lines.encode() + b"\r\n" + body


def _queued_bytes(transport: asyncio.Transport) -> int:
    """Return how many sent bytes the client's side has not acknowledged."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return 0
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
