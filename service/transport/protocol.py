"""Extend uvicorn's HTTP protocol: arrival times, header timeouts, early refusals, draining.

Arrival is stamped as bytes are read; slow headers time out; bytes that are not HTTP get a problem document; work in
progress hears when its client leaves; a request can be refused as soon as its headers are there, and then its body is
read past and no task is ever made for it. Once it drains, a connection ends with the answer that it owes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.contract.problems import MALFORMED_HTTP, MEDIA_TYPE, Problem
from service.transport.asgi import ARRIVAL_KEY, PRESENCE_KEY, Presence

Refusal = tuple[int, Sequence[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""

Shed = Callable[[dict[str, Any]], Refusal | None]
"""Judges a request to `shed_path` by its scope; None: it may come in."""

_UNREAD_SECONDS: Final = 0.1  # By then the event loop has read all bytes that had come when a timer ended.
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class TimedProtocol(HttpToolsProtocol):
    """One connection, with a timer while a request's headers are incomplete."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        head_seconds: float,
        shed: Shed | None = None,
        shed_path: bytes = b"",
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_seconds = head_seconds
        self._shed = shed
        self._shed_path = shed_path
        self._refused = False  # The body that comes now belongs to a request that has its answer.
        self._draining = False
        self._earlier: list[RequestResponseCycle] = []  # In the pipeline before the latest request.
        self._last: RequestResponseCycle | None = None  # While draining: whose answer ends the connection.
        self._last_heard = 0.0
        self._presence = Presence()
        self._head_timer: asyncio.TimerHandle | None = None
        self._awaits_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new client limited time to send a request."""
        super().connection_made(transport)
        self._last_heard = perf_counter()
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Give a client whose bytes end within the headers limited time for the rest."""
        self._last_heard = perf_counter()
        super().data_received(data)
        if self._awaits_head and self._head_timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_message_begin(self) -> None:
        """Stamp the arrival of a request."""
        super().on_message_begin()
        self._awaits_head = True
        scope = cast("dict[str, Any]", self.scope)
        scope[ARRIVAL_KEY] = perf_counter()
        scope[PRESENCE_KEY] = self._presence

    def on_headers_complete(self) -> None:
        """Refuse the request unread, or let uvicorn begin with it."""
        self._awaits_head = False
        self._stop_timer()
        refusal = self._judge()
        if refusal is not None:
            self._refuse(*refusal)
            return
        earlier = self.cycle
        super().on_headers_complete()
        if earlier is None or earlier.response_complete:
            self._earlier.clear()
        else:
            self._earlier.append(earlier)
        if self._draining:
            self._end_with_latest()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body, unless its request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; after a refusal, go on to the next or close."""
        if not self._refused:
            super().on_message_complete()
            return
        self._refused = False
        self._stop_timer()
        if self._draining or self.expect_100_continue or not self.parser.should_keep_alive():
            self.transport.close()
        else:
            self.on_response_complete()

    def drain(self) -> None:
        """Answer the requests that have come, and close with the last answer."""
        self._draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_with_latest()

    def close_if_idle(self, quiet_seconds: float) -> None:
        """Close a draining connection without requests that has been silent for a while."""
        busy = self._refused or (self.cycle is not None and not self.cycle.response_complete)
        if not busy and perf_counter() - self._last_heard >= quiet_seconds:
            _close_if_silent(self.transport)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests, unless one has come unread."""
        _close_if_silent(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all work in progress that the client has gone."""
        self._stop_timer()
        for cycle in self._earlier:  # uvicorn tells the latest only, which need not be the one that is being answered.
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)
        self._presence.leave()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, unless their request is refused, and close."""
        if self._refused:
            self.transport.close()
            return
        body = msgspec.json.encode(Problem(MALFORMED_HTTP, msg).document(secrets.token_hex(8)))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _end_with_latest(self) -> None:
        """Close with the answer to the latest request in the pipeline."""
        if self._last is self.cycle:
            return
        if self._last is not None and not self._last.response_started:
            self._last.keep_alive = True
        # A client that asked to close sends nothing more; anything that it does send is not answered.
        self._last = self.cycle if self.cycle.keep_alive else None
        self.cycle.keep_alive = False

    def _judge(self) -> Refusal | None:
        """Ask for a refusal, unless an earlier request on this connection is unanswered."""
        if self._shed is None or self.parser.get_method() != b"POST" or self.url != self._shed_path:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        return self._shed(cast("dict[str, Any]", self.scope))

    def _refuse(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self._refused = True
        # A client that waits for `100 Continue` may now send the body or not, so the next bytes could be either.
        last = self._draining or self.expect_100_continue or not self.parser.should_keep_alive()
        lines = b"".join(b"%b: %b\r\n" % header for header in headers) + (b"connection: close\r\n" if last else b"")
        head = b"%bcontent-length: %d\r\n%b\r\n" % (_STATUS_LINES[status], len(body), lines)
        self.transport.write(head + body)
        if last:
            self.transport.write_eof()
        # Read the body still, or closing would lose the answer with it; but only for a limited time.
        self._start_timer()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self._time_out)

    def _time_out(self) -> None:
        """Close, but let a late event loop first read bytes that came in time."""
        if not _close_if_silent(self.transport):
            self._head_timer = self.loop.call_later(_UNREAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _close_if_silent(transport: asyncio.Transport) -> bool:
    """Close, unless something has come that has not been read yet.

    Closing then would lose it. The client hears of it at once and not when the loop gets round to it, or it would go on
    sending meanwhile.
    """
    number = -1 if transport.is_closing() else transport.get_extra_info("socket").fileno()
    if number >= 0:
        with socket.socket(fileno=os.dup(number)) as sock, contextlib.suppress(OSError):
            if _has_bytes(sock):
                return False
            if not transport.get_write_buffer_size():
                sock.shutdown(socket.SHUT_WR)
    transport.close()
    return True


def _has_bytes(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
