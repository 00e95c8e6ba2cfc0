"""Extend uvicorn's HTTP protocol: arrival times, header timeouts, early refusals, draining.

Arrival is stamped as bytes are read; slow headers time out; work in progress hears when its client leaves; a request
can be refused as soon as its headers are there, and then its body is read past and no task is ever made for it. Once it
drains, a connection ends with the answer that it owes. `reading.py` has the limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from time import perf_counter
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.contract.problems import Problem
from service.transport.asgi import ARRIVAL_KEY, PRESENCE_KEY, Presence
from service.transport.connections import Connections
from service.transport.ending import BETWEEN, HEAD
from service.transport.gate import Gate, Refusal
from service.transport.reading import BoundedProtocol

_UNREAD_SECONDS: Final = 0.1  # By then the event loop has read all bytes that had come when a timer ended.


class TimedProtocol(BoundedProtocol):
    """One connection, with a timer while a request's headers are incomplete."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
        gate: Gate | None = None,
        gate_path: bytes = b"",
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, connections=connections)
        self._read_seconds = connections.limits.read_seconds
        self._gate = gate
        self._gate_path = gate_path
        self._judged = False  # The gate has let the latest request send its body.
        self._draining = False
        self._earlier: list[RequestResponseCycle] = []  # In the pipeline before the latest request.
        self._last: RequestResponseCycle | None = None  # While draining: whose answer ends the connection.
        self._last_heard = 0.0
        self._presence = Presence()
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new client limited time to send a request."""
        super().connection_made(transport)
        self._last_heard = perf_counter()
        if not self._ended:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Give a client whose bytes end within the headers limited time for the rest."""
        self._last_heard = perf_counter()
        super().data_received(data)
        if self._place is not BETWEEN or not self._unanswered:
            self._watch_client()

    def on_message_begin(self) -> None:
        """Stamp the arrival of a request."""
        super().on_message_begin()
        scope = cast("dict[str, Any]", self.scope)
        scope[ARRIVAL_KEY] = perf_counter()
        scope[PRESENCE_KEY] = self._presence

    def drain(self) -> None:
        """Answer the requests that have come, and close with the last answer."""
        self._draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_with_latest()

    def close_if_idle(self, quiet_seconds: float) -> None:
        """Close a draining connection without requests that has been silent for a while."""
        busy = self._refused or self._unparsed or self._unanswered
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

    def _begin_request(self) -> None:
        """Refuse the request unread, or let uvicorn begin with it."""
        self._stop_timer()
        refusal = self._judge()
        if refusal is not None:
            self._refuse(*refusal)
            return
        earlier = self.cycle
        super()._begin_request()
        if earlier is None or earlier.response_complete:
            self._earlier.clear()
        else:
            self._earlier = [cycle for cycle in (*self._earlier, earlier) if not cycle.response_complete]
        if self._draining:
            self._end_with_latest()

    def _end_request(self) -> None:
        """End the request and let it in; a refused one may end the connection."""
        if not self._refused:
            super()._end_request()
            if self._judged and self._gate is not None and not self.cycle.response_complete:
                self._gate.enter(cast("dict[str, Any]", self.scope))
            return
        self._refused = False
        self._stop_timer()
        if self._draining or self.expect_100_continue or not self.parser.should_keep_alive():
            self._ended = True
            self.transport.close()
        else:
            HttpToolsProtocol.on_response_complete(self)  # It has not been counted as unanswered.

    def _fail(self, problem: Problem) -> None:
        self._stop_timer()
        super()._fail(problem)

    def _keep(self, rest: memoryview) -> None:
        super()._keep(rest)
        if rest and self._last is not None and not self._last.response_started:
            self._last.keep_alive = True  # What is kept may hold requests, and the latest of them is to be the last.
            self._last = None

    def _go_on(self) -> None:
        super()._go_on()
        self._watch_client()

    def _watch_client(self) -> None:
        """Start the timer, unless it runs or nothing is owed by the client."""
        if self._read_timer is not None or self._ended or self._unparsed is not None:
            return
        if self._place is BETWEEN:
            owes = not self._unanswered and self.timeout_keep_alive_task is None
        else:
            owes = self._place is HEAD or self._discards()
        if owes and not self.transport.is_closing():
            self._start_timer()

    def _end_with_latest(self) -> None:
        """Close with the answer to the latest request in the pipeline."""
        if self._last is self.cycle or self._unparsed:
            return
        if self._last is not None and not self._last.response_started:
            self._last.keep_alive = True
        # A client that asked to close sends nothing more; anything that it does send is not answered.
        self._last = self.cycle if self.cycle.keep_alive else None
        self.cycle.keep_alive = False

    def _judge(self) -> Refusal | None:
        """Ask for a refusal, unless an earlier request on this connection is unanswered."""
        self._judged = False
        if self._gate is None or self._unanswered:
            return None
        if self.parser.get_method() != b"POST" or self.url != self._gate_path:
            return None
        refusal = self._gate.shed(cast("dict[str, Any]", self.scope))
        self._judged = refusal is None
        return refusal

    def _refuse(self, head: bytes, body: bytes) -> None:
        """Answer before the body has been read; `_watch_client` limits the time for that."""
        self._refused = True
        # A client that waits for `100 Continue` may now send the body or not, so the next bytes could be either.
        last = self._draining or self.expect_100_continue or not self.parser.should_keep_alive()
        ending = b"connection: close\r\n" if last else b""
        self.transport.write(b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(body), ending, body))
        if last:
            self.transport.write_eof()  # Its body is read still, or closing would lose the answer with it.

    def _start_timer(self) -> None:
        self._read_timer = self.loop.call_later(self._read_seconds, self._time_out)

    def _time_out(self) -> None:
        """Close, but let a late event loop first read bytes that came in time."""
        if self.flow.read_paused:  # It is the service that does not read.
            self._start_timer()
        elif _close_if_silent(self.transport):
            self._count_timeout()
        else:
            self._read_timer = self.loop.call_later(_UNREAD_SECONDS, self._close_late)

    def _close_late(self) -> None:
        """Close, whatever has come in the meantime but the end of a head."""
        self._count_timeout()
        self.transport.close()

    def _count_timeout(self) -> None:
        if self._place is HEAD:
            self._connections.refuse_head("timeout", self._peer)

    def _stop_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None


def _close_if_silent(transport: asyncio.Transport) -> bool:
    """Close, unless something has come that has not been read yet.

    Closing then would lose it. The client hears of it at once and not when the loop gets round to it, or it would go on
    sending meanwhile.
    """
    number = -1 if transport.is_closing() else transport.get_extra_info("socket").fileno()
    if number >= 0:
        sock = socket.socket(fileno=number)  # No duplicate: there may be no descriptor left for one.
        try:
            if _has_bytes(sock):
                return False
            if not transport.get_write_buffer_size():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
        finally:
            sock.detach()
    transport.close()
    return True


def _has_bytes(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
