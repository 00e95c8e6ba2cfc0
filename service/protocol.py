"""uvicorn's HTTP protocol with three things added.

Arrival is stamped as bytes are read, slow headers time out, and what is not HTTP gets a problem document.
"""

from __future__ import annotations

import asyncio
import secrets
from time import perf_counter
from typing import Any, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.problems import MALFORMED_HTTP, MEDIA_TYPE, Problem
from service.wire import ARRIVAL_KEY


class TimedProtocol(HttpToolsProtocol):
    """One connection. A timer runs only while a request's headers are incomplete, so usually there is none."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        head_seconds: float,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._awaits_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that connects must send a request in time."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Bytes came; if they end within the headers, the rest must come in time."""
        super().data_received(data)
        if self._awaits_head and self._head_timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self._awaits_head = True
        cast("dict[str, Any]", self.scope)[ARRIVAL_KEY] = perf_counter()

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._awaits_head = False
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, and close."""
        body = msgspec.json.encode(Problem(MALFORMED_HTTP, msg).document(secrets.token_hex(8)))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
