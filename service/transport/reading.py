"""Feed the parser within limits: on a head, on waiting requests, on all bytes.

Bytes go to the parser in small pieces while a head is awaited, and a body's at once. Between two pieces the connection
may stop to read: while its client does not take answers, or while enough of its requests are unanswered. What it has
read by then it keeps, and that counts as unfinished, as do heads and bodies that have come in part.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from models.contract.serving import BATCH_PATH
from service.contract.problems import (
    HEADERS_TOO_LARGE,
    MALFORMED_HTTP,
    NOT_IMPLEMENTED,
    OVERLOADED,
    Problem,
    unavailable,
)
from service.options.listeners import REQUEST_BYTES
from service.transport import head
from service.transport.connections import Connections
from service.transport.ending import BETWEEN, BODY, HEAD, EndingProtocol
from service.transport.gate import ReadGate
from service.transport.limits import FIELDS, HEAD_BYTES, PIPELINED
from service.transport.upgrade import new_parser, parser_within

_HEAD_PIECE: Final = 1024
_HEAD_END: Final = b"\r\n\r\n"
_CHUNKED_PIECE: Final = 16 * 1024
_CHUNKED_WORK: Final = PIPELINED // 4  # A piece of one-byte chunks takes 2 ms.
# A chunk of one byte has five bytes around it.
_FRAMING_PER_BYTE: Final = 6


class BoundedProtocol(EndingProtocol):
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
        super().__init__(config, server_state, app_state, _loop, connections=connections)
        self.parser = new_parser(self)
        self._piece = 0  # Size of what is being parsed.
        self._begun_in = 0  # Size of that in which the latest request began.
        self._fed = 0  # Bytes since the last request or head ended, but for the rest of the piece in which it did.
        self._length = 0  # Of the body, as declared.
        self._body = 0  # Bytes of it that have come.
        self._bodiless = 0  # Bytes since then, while a body comes in chunks.
        self._taking_over: tuple[httptools.HttpRequestParser, bytes] | None = None
        self._worked = 0  # In this turn of the event loop: requests begun, and what takes as long as one.

    def data_received(self, data: bytes) -> None:
        """Parse what has come, as far as the limits allow for now."""
        if self._ended:
            return
        self._unset_keepalive_if_required()
        self._worked = 0
        if self._unparsed is not None:
            data = bytes(self._unparsed) + data
            self._unparsed = None
        rest = memoryview(data)
        if self._place is BETWEEN and not self._unanswered and not self.flow.write_paused:
            rest = self._parse_first(data, rest)
            if self._place is BETWEEN and not rest and not self._held and not self.flow.write_paused:
                return  # Most requests come in one piece and end here.
        self._parse(rest)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._place = HEAD
        self._begun_in = self._piece

    def on_headers_complete(self) -> None:
        """Check the head, then begin with the request. Raises `Problem`, which ends the connection."""
        if self._fed + self._begun_in > HEAD_BYTES:
            head.check_size(self.parser.get_method(), self.url, self.headers)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Problem(NOT_IMPLEMENTED, "CONNECT is not supported")
            self._taking_over = parser_within(self, self.parser, self.headers)
        version = self.parser.get_http_version()
        if version == "1.0":
            self.expect_100_continue = False  # Such a client knows no answer but the last (RFC 9110, 10.1.1).
        self._length = head.body_length(version, self.headers)
        self._fed = self._body = self._bodiless = 0
        self._worked += 1
        self._begin_request()
        self._place = BODY
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
        self._place = BETWEEN
        self._fed = 0
        self._end_request()

    def on_response_complete(self) -> None:
        """Begin with the next request, or end; then parse what has waited."""
        self._unanswered -= 1
        if self._ended and not self._unanswered:
            self._say_farewell()
            return
        super().on_response_complete()
        if self._unparsed is not None:
            self._go_on()
        if self._held:
            self._account()

    def resume_writing(self) -> None:
        """Parse what has waited for the client to take its answers."""
        super().resume_writing()
        self._go_on()

    def _begin_request(self) -> None:
        HttpToolsProtocol.on_headers_complete(self)
        self._unanswered += 1

    def _end_request(self) -> None:
        HttpToolsProtocol.on_message_complete(self)

    def _parse_first(self, data: bytes, rest: memoryview) -> memoryview:
        """Feed a head, and a body that ends with `data`; return the rest."""
        end = data.find(_HEAD_END, 0, _HEAD_PIECE)
        if end < 0:
            return rest
        end += len(_HEAD_END)
        self._feed(rest[:end])
        if self._place is BODY and self._length == len(data) - end and not self._ended:
            self._feed(rest[end:])
            return rest[:0]
        return rest[end:]

    def _parse(self, rest: memoryview) -> None:
        """Feed `rest` in pieces; keep what must wait."""
        while rest and not self._must_wait() and not self._ended:
            size = self._next_piece()
            piece, rest = (rest, rest[:0]) if len(rest) <= size else (rest[:size], rest[size:])
            if self._place is BODY and self._length == head.CHUNKED:
                self._worked += _CHUNKED_WORK
            self._feed(piece)
        if not self._ended and (rest or self._waits_for_client()):
            self._keep(rest)
        if self._held or self._fed or self._unparsed or self.pipeline or self._place is BODY:
            self._account()

    def _next_piece(self) -> int:
        """Return how many bytes to parse at once: few, or the rest of a body."""
        if self._place is not BODY:
            return _HEAD_PIECE
        return _CHUNKED_PIECE if self._length == head.CHUNKED else max(self._length - self._body, 1)

    def _feed(self, piece: bytes | memoryview) -> None:
        """Parse a piece; a fault in it ends the connection."""
        self._piece = len(piece)
        self._fed += self._piece
        body = self._body
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_past_upgrades(piece, upgrade)
            if self._fed:
                self._check_progress(body)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, Problem) else Problem(MALFORMED_HTTP, f"not valid HTTP: {error}"))
        except Problem as problem:
            self._fail(problem)

    def _feed_past_upgrades(self, piece: bytes | memoryview, upgrade: httptools.HttpParserUpgrade | None) -> None:
        """Parse the rest of a piece, from where a parser has ended at an `Upgrade`."""
        while upgrade is not None:
            piece, upgrade = piece[upgrade.args[0] :], None
            assert self._taking_over is not None
            (self.parser, synthetic), self._taking_over = self._taking_over, None
            try:
                self.parser.feed_data(synthetic)
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as another:
                upgrade = another

    def _check_progress(self, body: int) -> None:
        """Raise `Problem` (431, 414) if a head, trailers or chunk extensions are too long."""
        if self._place is not BODY:
            if self._fed > HEAD_BYTES:
                raise head.too_large(self.url if self._place is HEAD and not self.headers else b"")
        elif self._length == head.CHUNKED:
            self._bodiless = self._bodiless + self._piece if self._body == body else 0
            surplus = self._fed - self._body * (1 + _FRAMING_PER_BYTE)
            if max(self._bodiless, surplus) > HEAD_BYTES or len(self.headers) > FIELDS:
                raise Problem(HEADERS_TOO_LARGE, "the trailers, or the extensions of chunks, are too long")

    def _waits_for_client(self) -> bool:
        return self._unanswered >= PIPELINED or self.flow.write_paused

    def _must_wait(self) -> bool:
        """Tell whether nothing more may be parsed now; other connections have their turn as well."""
        return self._worked >= PIPELINED or self._waits_for_client()

    def _keep(self, rest: memoryview) -> None:
        """Read no more until `rest` has been parsed."""
        self._unparsed = rest or memoryview(b"")
        cast(ReadGate, self.flow).hold()
        if not self._waits_for_client():
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Parse what was kept, if the reason to wait is gone, and read again."""
        if self._unparsed is None or self._ended or self._waits_for_client():
            return
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        rest, self._unparsed, self._worked = self._unparsed, None, 0
        self._parse(rest)
        if self._unparsed is None and not self._ended:
            cast(ReadGate, self.flow).release()

    def _largest_body(self) -> int:
        """Return the most bytes that the endpoint keeps of the body that is being read."""
        limits = self._connections.limits
        return limits.batch_bytes if self.scope["path"] == BATCH_PATH else limits.body_bytes

    def _account(self) -> None:
        """Count what the connection holds of unfinished requests; end it if that is too much."""
        held = 0
        if self._place is not BODY:
            held = self._fed
        elif not self._discards():
            held = REQUEST_BYTES + min(self._body, self._largest_body())
        if self._unparsed:
            held += len(cast(bytes, self._unparsed.obj))  # All of what was read stays for the sake of the rest.
        for cycle, _ in self.pipeline:
            held += REQUEST_BYTES + len(cycle.body)
        if not self._count(held):
            self._connections.refuse("unfinished")
            retry = self._connections.limits.retry_after_seconds
            self._fail(unavailable(OVERLOADED, "too many requests have come in part", retry))
