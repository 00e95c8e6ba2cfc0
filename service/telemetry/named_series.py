"""Hold metrics by the live names of one kind, such as scenes or API keys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry

from service.telemetry.versions import Series, VersionSeries

S = TypeVar("S", bound=Series)


class NamedSeries(Generic[S]):
    """Hold the metrics of each live name, and of requests that bear none.

    Names come and go together; the series of one that is gone end after a while, as those of a model's version do.
    `nothing` is the label of requests without a name, whose series never end.
    """

    def __init__(self, kind: str, nothing: str, make: Callable[[], S], registry: CollectorRegistry) -> None:
        self._kind = kind
        self._series = VersionSeries(make)
        self._series.pin(kind, nothing).begin(kind, nothing)
        self._live: frozenset[str] = frozenset()
        registry.register(self._series)

    def swapped(self, names: Collection[str]) -> None:
        """Begin the series of names that are new, and let those end that are gone."""
        live = frozenset(names)
        self.sweep()  # Here too, since nobody may scrape.
        for name in sorted(self._live - live):
            self._series.retire(self._kind, name)
        for name in sorted(live - self._live):
            self._series.publish(self._kind, name)
        self._live = live

    def sweep(self) -> None:
        """End the series whose time has come."""
        self._series.sweep()

    def of(self, name: str) -> S:
        """Return the metrics for a request with this name."""
        return self._series.of(self._kind, name)
