"""Free retired models when nothing is in progress, and give their memory back.

Closing a session of ONNX Runtime takes some milliseconds, in which no other thread can run Python either.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from time import monotonic
from typing import Final

from service.bundles.model import Model
from service.inference.aside import run_aside

_LOOK_SECONDS: Final = 0.003
_LONGEST_SECONDS: Final = 5.0


class Retired:
    """Hold retired models until `idle`, or for five seconds. Used from the event loop only."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._models: list[Model] = []
        self._until = 0.0
        self._trimming: asyncio.Task[None] | None = None

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
        else:
            self._trimming = asyncio.create_task(run_aside(trim_memory))


def trim_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    It keeps what lies between parts in use, and each thread that loads or warms a model has its own. So the process
    would grow with every reload, up to some multiple of a model's size.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
