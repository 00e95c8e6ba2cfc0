"""Keep metrics by version, scene or key; end them some time after it has retired.

What serves no more would otherwise be shown for ever, and each reload would make scrapes slower. Its series end whole.
They are not added to those of another, whose rates would jump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.telemetry import records
from service.telemetry.records import RequestOutcome

LASTING_SECONDS: Final = 300.0
"""Time from a retired version's last record to the end of its series: several scrapes."""

_OVERLAP: Final = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
# One swap of neighbours in a list of 10 gives 0.956; above 0.99, lists of up to 20 items are the same.
_TAU: Final = (-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1)

Version = tuple[str, str]
"""Name and version of a model; or `SCENE` and the name of a scene; or `KEY` and the name of an API key."""

SCENE: Final = ""
"""Stands for the name of a model, which is never empty, where series are a scene's."""

KEY: Final = "\0"
"""Stands for it where series are an API key's; no folder has this name, and so no model."""


class Family(Protocol):
    """One metric of a version, with its samples."""

    def describe(self) -> Iterable[Metric]: ...
    def collect(self) -> Iterable[Metric]: ...


class Series(Protocol):
    """Metrics of one version, which are in no registry."""

    @property
    def families(self) -> Sequence[Family]:
        """The metrics, always in the same order."""

    def begin(self, model: str, version: str) -> None:
        """Make all series; those that exist go on."""


S = TypeVar("S", bound=Series)


@dataclass(slots=True)
class _Retired(Generic[S]):
    series: S
    ends: float


class VersionSeries(Collector, Generic[S]):
    """Hold and show the metrics of every version.

    Changed by the event loop only; a scrape may read it from any thread. `clock` gives seconds and never goes back.
    """

    def __init__(self, make: Callable[[], S], *, clock: Callable[[], float] = monotonic) -> None:
        self._make = make
        self._clock = clock
        self._empty = make()
        self._pinned: set[Version] = set()
        self._live: dict[Version, S] = {}
        self._retired: dict[Version, _Retired[S]] = {}
        self._shown: tuple[S, ...] = ()

    def pin(self, model: str, version: str) -> S:
        """Return metrics that never end, still without series."""
        self._pinned.add((model, version))
        series = self._live[model, version] = self._make()
        self._show()
        return series

    def publish(self, model: str, version: str) -> None:
        """Begin the series of a version that goes live, or go on with them."""
        key = model, version
        retired = self._retired.pop(key, None)
        series = self._live.get(key) or (self._make() if retired is None else retired.series)
        series.begin(model, version)
        self._live[key] = series
        self._show()

    def retire(self, model: str, version: str) -> None:
        """Let the series of a version end, unless a record comes."""
        key = model, version
        if key in self._live and key not in self._pinned:
            self._retired[key] = _Retired(self._live.pop(key), self._clock() + LASTING_SECONDS)

    def of(self, model: str, version: str) -> S:
        """Return the metrics for a record; those of a retired version then last longer."""
        key = model, version
        series = self._live.get(key)
        return self._late(key) if series is None else series

    def sweep(self) -> None:
        """End the series whose time has come."""
        now = self._clock()
        gone = [key for key, retired in self._retired.items() if now >= retired.ends]
        for key in gone:
            del self._retired[key]
        if gone:
            self._show()

    def collect(self) -> Iterator[Metric]:
        """Yield each family with its samples, which are read as they are asked for."""
        shown = self._shown
        for place, family in enumerate(self._empty.families):
            for metric in family.describe():
                metric.samples = _Samples(shown, place)  # type: ignore[assignment]  # The encoders only iterate.
                yield metric

    def _late(self, key: Version) -> S:
        """Return the metrics of a version that is not live: a request outlasted it."""
        retired = self._retired.get(key)
        if retired is None:
            series = self._make()
            series.begin(*key)
            retired = self._retired[key] = _Retired(series, 0.0)
            self._show()
        retired.ends = self._clock() + LASTING_SECONDS
        return retired.series

    def _show(self) -> None:
        # One tuple, so that a thread that reads it never sees half a change.
        self._shown = (*self._live.values(), *(retired.series for retired in self._retired.values()))


class _Samples:
    """Read samples version by version, so that a scrape can pause between them."""

    def __init__(self, shown: Sequence[Series], place: int) -> None:
        self._shown, self._place = shown, place

    def __iter__(self) -> Iterator[Sample]:
        for series in self._shown:
            for metric in series.families[self._place].collect():
                yield from metric.samples


class RequestSeries:
    """Durations of one version's requests, by outcome."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._duration = Histogram(
            "rerank_request_duration_seconds",
            "From arrival to the last byte handed to the socket, failures included.",
            ("model", "version", "outcome"),
            buckets=edges,
            registry=None,
        )
        self.families = (self._duration,)
        self.outcomes: dict[RequestOutcome, Histogram] = {}

    def begin(self, model: str, version: str, outcomes: Iterable[RequestOutcome] = records.OUTCOMES) -> None:
        """Make the series of these outcomes; those that exist go on."""
        for outcome in outcomes:
            self.outcomes[outcome] = self._duration.labels(model, version, outcome)


class ShadowSeries:
    """Comparisons with one version as the shadow."""

    def __init__(self) -> None:
        labels = ("model", "version")
        text = "Lists sampled for comparison with the shadow model's, by what became of it."
        self._compared = Counter("rerank_shadow_total", text, (*labels, "outcome"), registry=None)
        text = "Kendall's tau-b between the list that was given and the shadow's; 1: the same order."
        self._tau = Histogram("rerank_shadow_kendall_tau", text, labels, buckets=_TAU, registry=None)
        text = "Share of the first k items of the list that was given that are among the shadow's first k."
        self._overlap = Histogram("rerank_shadow_overlap", text, (*labels, "k"), buckets=_OVERLAP, registry=None)
        self.families = (self._compared, self._tau, self._overlap)

    def begin(self, model: str, version: str) -> None:
        """Make all series; those that exist go on."""
        for outcome in records.SHADOW_OUTCOMES:
            self._compared.labels(model, version, outcome)
        self._tau.labels(model, version)
        for k in records.SHADOW_DEPTHS:
            self._overlap.labels(model, version, str(k))

    def missing(self, model: str, version: str) -> None:
        """Make the only series that can count while the shadow is not live."""
        self._compared.labels(model, version, "unknown")

    def observe(self, record: records.ShadowRecord) -> None:
        """Count one sampled request, and how far the lists agree."""
        labels = record.model, record.version
        self._compared.labels(*labels, record.outcome).inc()
        if record.tau is not None:
            self._tau.labels(*labels).observe(record.tau)
        for k, share in record.overlap.items():
            self._overlap.labels(*labels, str(k)).observe(share)
