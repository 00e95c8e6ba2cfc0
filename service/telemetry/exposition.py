"""Hold metric values and read them for a scrape.

Values are in this process, or in files that several workers share. Gauges are read from their sources by
`Metrics.refresh`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, GCCollector, Metric, PlatformCollector, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from starlette.responses import Response

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
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def set(self, gauge: Gauge, value: float) -> None:
        """Give a gauge its value; NaN: there is none now."""
        gauge.set(value)

    def retire(self, gauge: Gauge, *labels: str) -> None:
        """End a series whose subject is gone."""
        gauge.remove(*labels)

    def scrape(self) -> CollectorRegistry:
        """Return the registry to show, of the whole service."""
        return self.registry


class SharedExposition(Exposition):
    """Hold values in the files of one folder, one set per worker; show all.

    Any worker shows the sum, or the value that the gauge's mode asks for. A worker's files bear the number of its place
    and not its process id, so that one which takes the place of another counts on where that one ended, and the number
    of files never grows. One per process, before any metric is made: the client library keeps its kind of value in a
    module global.
    """

    def __init__(self, folder: Path, slot: int) -> None:
        os.environ[FOLDER_VARIABLE] = str(folder)
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        self._folder = folder
        self.registry = CollectorRegistry()

    def set(self, gauge: Gauge, value: float) -> None:
        """Set the value; NaN is written as minus infinity, below any other."""
        gauge.set(-math.inf if math.isnan(value) else value)

    def retire(self, gauge: Gauge, *labels: str) -> None:
        """Set the series to 0, since it cannot be taken out of a file."""
        gauge.labels(*labels).set(0)

    def scrape(self) -> CollectorRegistry:
        """Return the registry of all workers together."""
        return merged(self._folder)


class _Merged(Collector):
    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for metric in self._files.collect():  # type: ignore[no-untyped-call]
            if metric.type == "gauge":
                metric.samples = [_with_nan(sample) for sample in metric.samples]
            yield metric


def _with_nan(sample: Sample) -> Sample:
    return sample._replace(value=math.nan) if sample.value == -math.inf else sample


def merged(folder: Path) -> CollectorRegistry:
    """Return a registry that reads the workers' files whenever it is collected."""
    registry = CollectorRegistry()
    registry.register(_Merged(folder))
    return registry


def forget_gauges(folder: Path, slot: int) -> None:
    """Drop the present values of a worker that has ended; its counts stay."""
    mark_process_dead(slot, path=str(folder))  # type: ignore[no-untyped-call]
