"""Answer scrapes: render the metrics in a thread, one rendering at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from starlette.responses import Response

from service.telemetry.pacing import paced, pause


@dataclass(frozen=True)
class Format:
    """A text format, and what writes it."""

    content_type: str
    encode: Callable[[Collector], bytes]


PLAIN: Final = Format("text/plain; version=0.0.4; charset=utf-8", generate_latest)
OPENMETRICS: Final = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", generate_openmetrics)
SCRAPED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "All series",
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")},
    }
}
"""The answer to a scrape, for the OpenAPI document."""


def choose_format(accept: str) -> Format:
    """Return OpenMetrics if a header `Accept` asks for its version 1, else the plain format."""
    for kind in accept.lower().split(","):
        name, *parameters = (part.replace(" ", "") for part in kind.split(";"))
        versions = [value for value in parameters if value.startswith("version=")]
        if name == "application/openmetrics-text" and (not versions or versions[0] == "version=1.0.0"):
            return OPENMETRICS
    return PLAIN


class Scraper:
    """Answer scrapes beside the event loop.

    `read` is awaited in the loop, where gauges are read. Scrapes that come during a rendering share the next one. So
    any number of them takes one thread, and each shows all that was counted before it came.
    """

    def __init__(self, read: Callable[[], Awaitable[CollectorRegistry]]) -> None:
        self._read = read
        self._next: dict[Format, asyncio.Task[bytes]] = {}
        self._turn = asyncio.Lock()

    async def answer(self, accept: str) -> Response:
        """Answer a scrape in a format that it accepts."""
        chosen = choose_format(accept)
        rendering = self._next.get(chosen)
        if rendering is None:
            rendering = self._next[chosen] = asyncio.create_task(self._render(chosen))
        # Others may wait for it too, so a scrape that is given up must not end it.
        text = await asyncio.shield(rendering)
        return Response(text, headers={"content-type": chosen.content_type})

    async def _render(self, chosen: Format) -> bytes:
        async with self._turn:
            del self._next[chosen]
            registry = await self._read()
            return await asyncio.to_thread(chosen.encode, _Paced(registry))


class _Paced(Collector):
    """Collect a registry with pauses, in which other threads run."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            slow = copy(metric)  # Some collectors yield the same object every time.
            slow.samples = paced(metric.samples)  # type: ignore[assignment]  # The encoders only iterate.
            yield slow
            pause()
