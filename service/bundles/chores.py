"""Look after the bundles beside requests; no fault in that ends the service."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NoReturn

from service.bundles.switching import Switcher

_log = logging.getLogger(__name__)


class Chores:
    """Reload when an operator wants it, and try refused versions again.

    Used from the event loop only.
    """

    def __init__(self, switcher: Switcher[Any]) -> None:
        self._switcher = switcher
        self._wanted = asyncio.Event()

    def want_reload(self) -> None:
        """Ask for a reload of all; several before it begins are one."""
        self._wanted.set()

    async def reload_when_wanted(self) -> NoReturn:
        """Reload all bundles as often as that is wanted, once at a time."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._switcher.reload_all()
            except Exception:
                _log.exception("the reload of all bundles has failed")

    async def watch(self) -> NoReturn:
        """Try refused versions again when their files have changed."""
        while True:
            try:
                await self._switcher.watch()
            except Exception:  # It waits before it looks again.
                _log.exception("refused bundles could not be tried again")
