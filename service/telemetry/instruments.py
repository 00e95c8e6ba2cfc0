"""Make the metrics of one registry, and note how gauges of several workers become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import Counter, Gauge, Histogram

from service.telemetry.exposition import Exposition
from service.telemetry.snapshots import MergeMode

Reading = tuple[Gauge, Callable[[], float]]
"""A gauge, and what gives its value when it is scraped; NaN: there is none now."""


class Instruments:
    """Make metrics that an exposition shows."""

    def __init__(self, exposition: Exposition) -> None:
        self.registry = exposition.registry
        self._modes = exposition.modes

    def count(self, name: str, text: str) -> Counter:
        """Make a counter without labels."""
        return Counter(name, text, registry=self.registry)

    def counts(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """Make a counter with one closed label; return a series for each of its values."""
        counter = Counter(name, text, (label,), registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def gauge(self, name: str, text: str, mode: MergeMode, labels: Sequence[str] = ()) -> Gauge:
        """Make a gauge; `mode` merges the values of several workers, `live` of those that run."""
        self._modes[name] = mode
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        """Make a histogram."""
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
