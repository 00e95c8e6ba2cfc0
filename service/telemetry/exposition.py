"""Hold metric values and show them to a scrape.

Gauges are read from their sources by `Metrics.refresh`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector, values
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from service.telemetry.snapshots import MergeMode

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

Scrape = Callable[[str], Awaitable[Response]]
"""Answers a scrape in the format that the `Accept` header asks for. Raises `Problem` (503)."""


def keep_in_memory() -> None:
    """Let metrics made from now on hold their values in memory.

    The client library writes them to files if a variable of the environment names a folder. It reads that when it is
    imported and again whenever a series is removed, so the variable is removed from this process's environment.
    """
    values.ValueClass = values.MutexValue
    for name in (FOLDER_VARIABLE, FOLDER_VARIABLE.lower()):
        os.environ.pop(name, None)


class Exposition:
    """Hold values in memory, and show this process's own (`process_*`, `python_*`) too."""

    def __init__(self) -> None:
        keep_in_memory()
        self.registry = CollectorRegistry()
        self.modes: dict[str, MergeMode] = {}
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def set(self, gauge: Gauge, value: float) -> None:
        """Give a gauge its value; NaN: there is none now."""
        gauge.set(value)

    def retire(self, gauge: Gauge, *labels: str) -> None:
        """End a series whose subject is gone."""
        gauge.remove(*labels)

    async def respond(self, accept: str) -> Response:
        """Answer a scrape of the whole service."""
        return await metrics_response(self.registry, accept)


class SharedExposition(Exposition):
    """Hold what one of several workers counts; `scrape` asks for the sum of all."""

    def __init__(self, scrape: Scrape) -> None:
        keep_in_memory()
        self.registry = CollectorRegistry()
        self.modes = {}
        self._scrape = scrape

    async def respond(self, accept: str) -> Response:
        """Answer a scrape of the whole service. Raises `Problem` (503) if the supervisor is silent."""
        return await self._scrape(accept)


def content_type_for(accept: str) -> str:
    """Return the content type of the format that a scrape accepts."""
    return str(choose_encoder(accept)[1])


async def metrics_response(registry: CollectorRegistry, accept: str) -> Response:
    """Answer a scrape in the format that it accepts, rendered in a thread."""
    encode, content_type = choose_encoder(accept)
    return Response(await asyncio.to_thread(encode, registry), headers={"content-type": content_type})
