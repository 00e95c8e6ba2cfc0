"""Hold metric values in this process, and show them to a scrape."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, values
from starlette.responses import Response

from service.telemetry.scrape import Scraper
from service.telemetry.snapshots import MergeMode

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

Scrape = Callable[[str], Awaitable[Response]]
"""Answers a scrape in the format that the `Accept` header asks for. Raises `Problem` (503)."""


def keep_in_memory() -> None:
    """Let metrics made from now on hold their values in memory.

    The client library writes them to files if a variable of the environment names a folder. It reads that when it is
    imported and again whenever a series is removed, so the variable is removed from this process's environment.
    """
    values.ValueClass = values.MutexValue
    for name in (_FOLDER_VARIABLE, _FOLDER_VARIABLE.lower()):
        os.environ.pop(name, None)


class Exposition:
    """Show what this process counts, and its own figures (`process_*`, `python_*`) too."""

    def __init__(self, *, own_figures: bool = True) -> None:
        keep_in_memory()
        self.registry = CollectorRegistry()
        self.modes: dict[str, MergeMode] = {}
        if own_figures:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self.registry)

    def make_scrape(self, refresh: Callable[[], None]) -> Scrape:
        """Return what answers scrapes; it calls `refresh` in the event loop first."""

        async def read() -> CollectorRegistry:
            refresh()
            return self.registry

        return Scraper(read).answer


class SharedExposition(Exposition):
    """Hold what one of several workers counts; show what the supervisor has of all."""

    def __init__(self, scrape: Scrape) -> None:
        super().__init__(own_figures=False)
        self._scrape = scrape

    def make_scrape(self, refresh: Callable[[], None]) -> Scrape:  # noqa: ARG002 - each snapshot refreshes first
        """Return what asks the supervisor, which asks all workers for a snapshot."""
        return self._scrape
