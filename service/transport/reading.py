"""Feed the parser within limits: few bytes of a head, few requests at a time, few bytes in all.

Bytes go to the parser in small pieces while a head is awaited, and a body's at once. Between two pieces the connection
may stop to read: while its client does not take answers, or while enough of its requests are unanswered. What it has
read by then it keeps, and that counts as unfinished, as do heads and bodies that have come in part.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from enum import Enum
from typing import Any, Final, cast

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.contract.problems import (
    HEADERS_TOO_LARGE,
    MALFORMED_HTTP,
    MEDIA_TYPE,
    NOT_IMPLEMENTED,
    OVERLOADED,
    Problem,
    unavailable,
)
from service.transport import head
from service.transport.connections import Connections, RefusedReason
from service.transport.gate import ReadGate
from service.transport.limits import FIELDS, HEAD_BYTES, PIPELINED
from service.transport.upgrade import new_parser, parser_within
from service.transport.wire import STATUS_LINES

_HEAD_PIECE: Final = 1024
_CHUNKED_PIECE: Final = 16 * 1024
# A chunk of one byte has five bytes around it.
_FRAMING_PER_BYTE: Final = 6
_REQUEST_BYTES: Final = 4096  # About what a request takes beside its body.
_LINGER_SECONDS: Final = 1.0


class Place(Enum):
    """Where in a request the next byte belongs."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2


class BoundedProtocol(HttpToolsProtocol):
    """One connection whose client can make it hold only so much."""

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
        self.parser = new_parser(self)
        self._connections = connections
        self._refused_because: RefusedReason | None = None
        self._peer = ""
        self._place = Place.BETWEEN
        self._piece = 0  # Size of the piece that is being parsed.
        self._fed = 0  # Bytes since the last request or head ended, with those of its last piece.
        self._length = 0  # Of the body, as declared.
        self._body = 0  # Bytes of it that have come.
        self._bodiless = 0  # Bytes since then, while a body comes in chunks.
        self._taking_over: tuple[httptools.HttpRequestParser, bytes] | None = None
        self._refused = False  # The body that comes now belongs to a request that has its answer.
        self._unanswered = 0
        self._begun = 0  # Requests in this turn of the event loop.
        self._parsing = False
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
        self._peer = self.client[0] if self.client else "unix"
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

    def data_received(self, data: bytes) -> None:
        """Parse what has come, as far as the limits allow for now."""
        if self._ended:
            return
        self._unset_keepalive_if_required()
        self._begun = 0
        if self._unparsed is not None:
            data = bytes(self._unparsed) + data
            self._unparsed = None
        self._parse(memoryview(data))

    def on_message_begin(self) -> None:
        """Begin a request; what the piece holds before it counts as its own."""
        super().on_message_begin()
        self._place = Place.HEAD
        self._fed = self._piece

    def on_headers_complete(self) -> None:
        """Check the head, then begin with the request. Raises `Problem`, which ends the connection."""
        method = self.parser.get_method()
        if self._fed > HEAD_BYTES:
            head.check_size(method, self.url, self.headers)
        if self.parser.should_upgrade():
            if method == b"CONNECT":
                raise Problem(NOT_IMPLEMENTED, "CONNECT is not supported")
            self._taking_over = parser_within(self, self.parser, self.headers)
        self._length = head.body_length(self.parser.get_http_version(), self.headers)
        self._fed, self._body, self._bodiless = self._piece, 0, 0
        self._begun += 1
        self._begin_request()
        self._place = Place.BODY
        self.headers = []  # Trailers come here, and not among the fields that the app sees.

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body, unless its request was refused."""
        self._body += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless its parser stops at an upgrade that is ignored. Raises `Problem`."""
        if self._taking_over is not None:
            return
        if len(self.headers) > FIELDS:
            raise Problem(HEADERS_TOO_LARGE, f"more than {FIELDS} trailer fields")
        self._place = Place.BETWEEN
        self._fed = 0
        self._end_request()

    def on_response_complete(self) -> None:
        """Begin with the next request, or end; then parse what has waited."""
        self._unanswered -= 1
        if self._ended and not self._unanswered:
            self._say_farewell()
            return
        self._await_next()
        self._go_on()
        if self._held:
            self._account()

    def resume_writing(self) -> None:
        """Parse what has waited for the client to take its answers."""
        super().resume_writing()
        self._unsent = sys.maxsize  # The client has taken something, whatever has been added since.
        self._go_on()

    def check_unsent(self, now: float) -> int:
        """Return the unsent bytes; cut off a client that has taken nothing of them for too long."""
        size = self.transport.get_write_buffer_size()
        if not size or size < self._unsent:
            self._unsent_since = now
        self._unsent = size
        if size and now - self._unsent_since > self._connections.limits.read_seconds:
            self.transport.abort()
        return size

    def _begin_request(self) -> None:
        HttpToolsProtocol.on_headers_complete(self)
        self._unanswered += 1

    def _end_request(self) -> None:
        HttpToolsProtocol.on_message_complete(self)

    def _await_next(self) -> None:
        """Begin with the next request of the pipeline, or start the timer of an idle connection."""
        HttpToolsProtocol.on_response_complete(self)

    def _parse(self, rest: memoryview) -> None:
        """Feed `rest` in pieces; keep what must wait."""
        self._parsing = True
        while rest and not self._must_wait() and not self._ended:
            piece = rest[: self._next_piece()]
            rest = rest[len(piece) :]
            self._feed(piece)
        self._parsing = False
        if not self._ended and (rest or self._waits_for_client()):
            self._keep(rest)
        self._account()

    def _next_piece(self) -> int:
        """Return how many bytes to parse at once: up to the end of a body, or few."""
        if self._place is not Place.BODY:
            return _HEAD_PIECE
        return _CHUNKED_PIECE if self._length == head.CHUNKED else max(self._length - self._body, 1)

    def _feed(self, piece: memoryview) -> None:
        """Parse a piece; a fault in it ends the connection."""
        self._piece = len(piece)
        self._fed += self._piece
        body = self._body
        try:
            self._feed_past_upgrades(piece)
            self._check_progress(body)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, Problem) else Problem(MALFORMED_HTTP, f"not valid HTTP: {error}"))
        except Problem as problem:
            self._fail(problem)

    def _feed_past_upgrades(self, piece: memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as upgrade:
                piece = piece[upgrade.args[0] :]
            assert self._taking_over is not None
            (self.parser, synthetic), self._taking_over = self._taking_over, None
            self.parser.feed_data(synthetic)

    def _check_progress(self, body: int) -> None:
        """Raise `Problem` (431, 414) if a head, or what surrounds a body in chunks, is too long so far."""
        if self._place is not Place.BODY:
            if self._fed > HEAD_BYTES + _HEAD_PIECE:
                raise head.too_large(self.url if self._place is Place.HEAD and not self.headers else b"")
        elif self._length == head.CHUNKED:
            self._bodiless = self._bodiless + self._piece if self._body == body else 0
            surplus = self._fed - self._body * (1 + _FRAMING_PER_BYTE)
            if max(self._bodiless, surplus) > HEAD_BYTES + _CHUNKED_PIECE or len(self.headers) > FIELDS:
                raise Problem(HEADERS_TOO_LARGE, "the trailers, or the extensions of chunks, are too long")

    def _waits_for_client(self) -> bool:
        return self._unanswered >= PIPELINED or self.flow.write_paused

    def _must_wait(self) -> bool:
        """Tell whether nothing more may be parsed now; other connections have their turn as well."""
        return self._begun >= PIPELINED or self._waits_for_client()

    def _keep(self, rest: memoryview) -> None:
        """Read no more until `rest` has been parsed."""
        self._unparsed = rest or memoryview(b"")
        cast(ReadGate, self.flow).hold()
        if not self._waits_for_client():
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Parse what was kept, if the reason to wait is gone, and read again."""
        if self._unparsed is None or self._parsing or self._ended or self._waits_for_client():
            return
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        rest, self._unparsed, self._begun = self._unparsed, None, 0
        self._parse(rest)
        if self._unparsed is None and not self._ended:
            cast(ReadGate, self.flow).release()

    def _discards(self) -> bool:
        """Tell whether the rest of the body belongs to a request that has its answer."""
        return self._refused or self.cycle is None or self.cycle.response_complete

    def _account(self) -> None:
        """Count what the connection holds of requests that are not whole, or wait; end it if that is too much."""
        held = 0
        if self._place is not Place.BODY:
            held = self._fed
        elif not self._discards():
            held = _REQUEST_BYTES + min(self._body, self._connections.limits.body_bytes)
        if self._unparsed:
            held += len(cast(bytes, self._unparsed.obj))  # All of what was read stays for the sake of the rest.
        for cycle, _ in self.pipeline:
            held += _REQUEST_BYTES + len(cycle.body)
        if not self._count(held):
            self._connections.refuse("unfinished")
            retry = self._connections.limits.retry_after_seconds
            self._fail(unavailable(OVERLOADED, "too many requests have come in part", retry))

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
        self._farewell = render(unavailable(OVERLOADED, why, self._connections.limits.retry_after_seconds))
        self._say_farewell()

    def _fail(self, problem: Problem) -> None:
        """Parse no more; answer `problem` once all earlier requests are answered, and close."""
        if self._ended:
            return
        self._ended = True
        self._unparsed = None
        self._farewell = render(problem)
        if self._place is Place.BODY:
            self._give_up_request()
        self._count(0)
        if self._unanswered:
            cast(ReadGate, self.flow).hold()
        else:
            self._say_farewell()

    def _give_up_request(self) -> None:
        """Drop the request whose body is faulty; one that has its answer gets no second one."""
        if self._discards() or self.cycle.response_started:
            self._farewell = b""
            return
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # It has not begun; earlier ones are in progress.
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._unanswered -= 1

    def _say_farewell(self) -> None:
        """Write the last answer, and close once the client has had a moment to read it.

        Closing at once would lose the answer to a client that is still sending.
        """
        if self.transport.is_closing():
            return
        if not self._farewell:
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        self._linger_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
        self.transport.write(self._farewell)
        self.transport.write_eof()
        cast(ReadGate, self.flow).release()


def render(problem: Problem) -> bytes:
    """Make a whole response that ends the connection."""
    request_id = secrets.token_hex(8)
    body = msgspec.json.encode(problem.document(request_id))
    fields = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
    fields |= {"x-request-id": request_id, **problem.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINES[problem.kind.status] + lines.encode() + b"\r\n" + body
