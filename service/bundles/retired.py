"""Free retired models when nothing is in progress.

Closing a session of ONNX Runtime takes some milliseconds, in which no other thread can run Python either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from service.bundles.model import Model

_LOOK_SECONDS: Final = 0.003
_LONGEST_SECONDS: Final = 5.0


class Retired:
    """Hold retired models until `idle`, or for five seconds. Used from the event loop only."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._models: list[Model] = []
        self._until = 0.0

    def keep(self, model: Model) -> None:
        """Hold a model for a while; requests that began with it hold it themselves."""
        self._models.append(model)
        self._until = monotonic() + _LONGEST_SECONDS
        if len(self._models) == 1:
            self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Free the oldest, if this is the moment for it."""
        if self._idle() or monotonic() > self._until:
            del self._models[0]
        if self._models:
            self._look_later()
