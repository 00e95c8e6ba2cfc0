"""Look after the bundles beside requests; no fault in that ends the service."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from service.bundles.switching import Switcher
from service.timing.on_demand import OnDemand

_log = logging.getLogger(__name__)


class Chores:
    """Reload when an operator wants it, and try refused versions again.

    Used from the event loop only.
    """

    def __init__(self, switcher: Switcher[Any]) -> None:
        self._switcher = switcher
        self.reloads = OnDemand("the reload of all bundles", switcher.reload_all)

    async def watch(self) -> NoReturn:
        """Try refused versions again when their files have changed."""
        while True:
            try:
                await self._switcher.watch()
            except Exception:  # It waits before it looks again.
                _log.exception("refused bundles could not be tried again")
