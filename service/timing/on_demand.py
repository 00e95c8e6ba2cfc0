"""Do work as often as it is asked for, once at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

_log = logging.getLogger(__name__)


class OnDemand:
    """Do work when an operator wants it; no fault in it ends the service.

    `name` says in the log what has failed. Used from the event loop only.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._work = work
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Ask for the work; several times before it begins are one."""
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Do the work as often as it is wanted."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._work()
            except Exception:
                _log.exception("%s has failed", self._name)
