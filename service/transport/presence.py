"""Tell work in progress that its client has left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

PRESENCE_KEY: Final = "listwright.presence"
"""ASGI scope key under which `protocol.py` leaves the connection's `Presence`."""


class Presence:
    """Tell the work of one connection when its client leaves."""

    __slots__ = ("_on_leave",)

    def __init__(self) -> None:
        self._on_leave: Callable[[], None] | None = None

    @contextlib.contextmanager
    def calling(self, on_leave: Callable[[], None]) -> Iterator[None]:
        """Call `on_leave` if the client leaves meanwhile; one request at a time."""
        self._on_leave = on_leave
        try:
            yield
        finally:
            self._on_leave = None

    def leave(self) -> None:
        """Note that the client has gone."""
        if self._on_leave is not None:
            self._on_leave()
