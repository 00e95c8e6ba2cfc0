"""Hold metric values in this process; show them, or those of all workers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    values,
)
from starlette.responses import Response

from service.telemetry.rolling import Gathered, WindowCounts
from service.telemetry.scrape import Scraper
from service.telemetry.snapshots import MergeMode

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

Scrape = Callable[[str], Awaitable[Response]]
"""Answers a scrape in the format that the `Accept` header asks for. Raises `Problem` (503)."""

Windows = Callable[[], Sequence[WindowCounts]]
"""Returns what this process has counted in the last minutes."""

WORKER_MODES: Final[dict[str, MergeMode]] = {"rerank_workers_live": "livesum", "rerank_workers_wanted": "livesum"}
"""How the gauges of `show_workers` of several processes become one; only one process has them."""

ENGINE_MODES: Final[dict[str, MergeMode]] = {"rerank_engines_live": "livesum", "rerank_engines_wanted": "livesum"}
"""The same of `show_engines`."""


def show_workers(registry: CollectorRegistry, live: Callable[[], int], wanted: int) -> None:
    """Show how many processes answer requests, and how many should."""
    running, should = WORKER_MODES
    Gauge(running, "Processes that take requests.", registry=registry).set_function(live)
    Gauge(should, "Processes that the settings ask for.", registry=registry).set(wanted)


def show_engines(registry: CollectorRegistry, live: Callable[[], int], wanted: Callable[[], int]) -> None:
    """Show how many processes run models for the workers, and how many should."""
    running, should = ENGINE_MODES
    Gauge(running, "Processes that run models for all workers.", registry=registry).set_function(live)
    text = "Engine processes that the settings ask for; 0 before the first model is live."
    Gauge(should, text, registry=registry).set_function(wanted)


def set_up_client_library() -> None:
    """Let later metrics hold their values in memory, and show no times of creation.

    The client library writes values to files if a variable of the environment names a folder. It reads that when it is
    imported and again whenever a series is removed, so the variable is removed from this process's environment. Times
    of creation (`…_created`) would be further series, which metrics of several processes do not have in common.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    values.ValueClass = values.MutexValue
    for name in (_FOLDER_VARIABLE, _FOLDER_VARIABLE.lower()):
        os.environ.pop(name, None)


class Exposition:
    """Show what this process counts, and its own figures (`process_*`, `python_*`) too."""

    def __init__(self, *, own_figures: bool = True) -> None:
        set_up_client_library()
        self.registry = CollectorRegistry()
        self.modes: dict[str, MergeMode] = {}
        if own_figures:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self.registry)
            show_workers(self.registry, lambda: 1, 1)

    def make_scrape(self, refresh: Callable[[], None]) -> Scrape:
        """Return what answers scrapes; it calls `refresh` in the event loop first."""

        async def read() -> CollectorRegistry:
            refresh()
            return self.registry

        return Scraper(read).answer

    async def gather(self, own: Windows) -> Gathered:
        """Return the last minutes of all workers, of which this process is the only one."""
        return Gathered(own(), workers=1, complete=True)


class SharedExposition(Exposition):
    """Hold what one of several workers counts; show what the supervisor has of all.

    `ask` returns the last minutes of all workers, or None if the supervisor does not answer in time.
    """

    def __init__(self, scrape: Scrape, ask: Callable[[], Awaitable[Gathered | None]]) -> None:
        super().__init__(own_figures=False)
        self._scrape = scrape
        self._ask = ask

    def make_scrape(self, refresh: Callable[[], None]) -> Scrape:  # noqa: ARG002 - each snapshot refreshes first
        """Return what asks the supervisor, which asks all workers for a snapshot."""
        return self._scrape

    async def gather(self, own: Windows) -> Gathered:
        """Return the last minutes of all workers.

        They are of this one alone, and not complete, if the supervisor is silent.
        """
        return await self._ask() or Gathered(own(), workers=1, complete=False)
