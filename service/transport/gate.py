"""Define what a protocol asks about a request, and how it stops to read."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

Refusal = tuple[bytes, bytes]
"""Status line with fields, but for `Content-Length` and `Connection`; and body."""


class Gate(Protocol):
    """Judges requests by their headers, and counts those whose body is whole."""

    def shed(self, scope: dict[str, Any]) -> Refusal | None:
        """Return the refusal of a request; None: it may send its body."""

    def enter(self, scope: dict[str, Any]) -> None:
        """Count a request that has come whole as one in progress, if there is room."""


class ReadGate(FlowControl):
    """Keeps reading paused for as long as it is held, whatever uvicorn wants meanwhile."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False

    def hold(self) -> None:
        """Read no more from the socket until `release`."""
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again."""
        self.held = False
        self.resume_reading()

    def pause_reading(self) -> None:
        """Pause, unless the connection is closing."""
        if not self._transport.is_closing():
            super().pause_reading()

    def resume_reading(self) -> None:
        """Resume, unless it is held or the connection is closing."""
        if self.read_paused and not self.held and not self._transport.is_closing():
            super().resume_reading()
