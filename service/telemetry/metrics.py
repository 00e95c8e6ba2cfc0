"""Count request records in Prometheus metrics.

Names and labels are a contract with dashboards and alerts. Each instance has a collector registry of its own, and every
series exists from the start: label sets are closed. The exposition decides where the values live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

from service.bundles.model import Model
from service.contract.schemas import DegradedReason, Source
from service.telemetry import records
from service.telemetry.exposition import Exposition, OwnExposition
from service.telemetry.records import ListHealth, RequestOutcome, RequestRecord, ShadowRecord
from service.telemetry.rolling import RollingWindow
from service.timing.deadline import HEADERS

# One edge is exactly the usual budget, 19 ms.
_SECONDS: Final = tuple(ms / 1e3 for ms in (1, 2, 4, 6, 8, 10, 13, 16, 19, 22, 26, 35, 50, 100, 250, 1000))
_STAGE_SECONDS: Final = (0.00005, 0.0001, 0.0002, 0.0005, *_SECONDS)
_CANDIDATES: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64)
_DISPLACEMENT: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_DIVERSITY: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)
_OVERLAP: Final = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
# One swap of neighbours in a list of 10 gives 0.956; above 0.99, lists of up to 20 items are the same.
_TAU: Final = (-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1)
REJECTED: Final = ("not-ready", "overloaded", "shed")
DROPPED: Final = ("deadline", "client-gone")
RELOADS: Final = ("ok", "refused")
_TIMEOUT_HEADERS: Final = tuple(name.decode() for name in HEADERS)
_SOURCES: Final[tuple[Source, ...]] = ("model", "formula", "input")
_ANSWERED: Final[frozenset[RequestOutcome]] = frozenset(("ok", "degraded"))
_NOT_VALID: Final[frozenset[RequestOutcome]] = frozenset(("invalid", "cancelled"))
_REFRESH_SECONDS: Final = 1.0


class Metrics:
    """Observe requests.

    `observe` takes some microseconds, and never raises for a record of this service. `shadow` is the name and version
    of the model that lists are compared with, as the settings say it.
    """

    def __init__(
        self,
        *,
        budget_seconds: float,
        exposition: Exposition | None = None,
        shadow: tuple[str, str | None] | None = None,
    ) -> None:
        self._exposition = exposition or OwnExposition()
        self.registry = self._exposition.registry
        self.window = RollingWindow()
        self._readings: list[tuple[Gauge, Callable[[], float]]] = []
        self.registry.register(_Before(self.refresh))
        self._make_requests(budget_seconds)
        self._make_reasons()
        self._make_gauges(budget_seconds)
        self._make_lists()
        self._make_shadow(shadow)
        for outcome in sorted(set(records.OUTCOMES) - _ANSWERED):
            self._duration.labels(records.NO_MODEL, records.NO_MODEL, outcome)

    def _make_requests(self, budget: float) -> None:
        r = self.registry
        self._duration = Histogram(
            "rerank_request_duration_seconds",
            "From arrival to the last byte handed to the socket, failures included.",
            ("model", "version", "outcome"),
            buckets=sorted({*_SECONDS, budget}),
            registry=r,
        )
        self._stage = Histogram(
            "rerank_stage_duration_seconds", "Time in one stage.", ("stage",), buckets=_STAGE_SECONDS, registry=r
        )
        self._candidates = Histogram("rerank_candidates", "Candidates in a request.", buckets=_CANDIDATES, registry=r)
        self._batch = Histogram("rerank_batch_size", "Requests in one run.", buckets=_BATCH, registry=r)
        self._stages = {stage: self._stage.labels(stage) for stage in records.STAGES}

    def _make_reasons(self) -> None:
        r = self.registry
        self._degraded = Counter("rerank_degraded_total", "Lists that are not the model's.", ("reason",), registry=r)
        self._would_degrade = Counter(
            "rerank_would_degrade_total",
            "Lists that deadlines, had they been enforced, would have taken from the model.",
            ("reason",),
            registry=r,
        )
        self._rejected = Counter("rerank_rejected_total", "Requests answered 503.", ("reason",), registry=r)
        self._dropped = Counter(
            "rerank_dropped_total", "Requests dropped from the queue before inference.", ("reason",), registry=r
        )
        self._reloads = Counter(
            "rerank_reloads_total", "Bundles that a reload switched to, or refused.", ("result",), registry=r
        )
        self._choice = Counter(
            "rerank_list_choice_total",
            "Lists that are not degraded, by who made them: the model's plan, the sort's list where the model valued "
            "it higher, or the sort without running the model (bypass).",
            ("choice",),
            registry=r,
        )
        self._choices = {choice: self._choice.labels(choice) for choice in records.CHOICES}
        self._ignored = Counter(
            "rerank_deadline_headers_ignored_total", "Deadlines in headers that made no sense.", ("header",), registry=r
        )
        self._rejections = {reason: self._rejected.labels(reason) for reason in REJECTED}
        for reason in get_args(DegradedReason):
            self._degraded.labels(reason)
        for reason in get_args(DegradedReason)[:2]:
            self._would_degrade.labels(reason)
        for reason in DROPPED:
            self._dropped.labels(reason)
        for result in RELOADS:
            self._reloads.labels(result)
        for header in _TIMEOUT_HEADERS:
            self._ignored.labels(header)

    def _make_gauges(self, budget: float) -> None:
        r = self.registry
        # The modes say how values of several workers are merged: `live` means of the workers that run now.
        self._in_flight = Gauge("rerank_in_flight", "Requests in progress.", registry=r, multiprocess_mode="livesum")
        self._depth = Gauge(
            "rerank_queue_depth", "Requests that wait for the engine.", registry=r, multiprocess_mode="livesum"
        )
        self._overloaded = Gauge(
            "rerank_overloaded", "1 while a queue stands that does not empty.", registry=r, multiprocess_mode="livemax"
        )
        Gauge("rerank_latency_budget_seconds", "The latency budget.", registry=r, multiprocess_mode="max").set(budget)
        p99 = Gauge(
            "rerank_latency_p99_seconds",
            "99th percentile of valid requests in the last 60 s.",
            registry=r,
            multiprocess_mode="livemax",
        )
        self._readings.append((p99, lambda: self.window.quantile(0.99)))
        self._info = Gauge(
            "rerank_model_info",
            "1 for each live model.",
            ("model", "version", "family", "provider"),
            registry=r,
            multiprocess_mode="livemax",
        )

    def _make_lists(self) -> None:
        r = self.registry
        self._diversity = Histogram(
            "rerank_list_diversity",
            "Mean of 1 - cosine over pairs of the model's items that have an embedding.",
            buckets=_DIVERSITY,
            registry=r,
        )
        self._displacement = Histogram(
            "rerank_list_displacement",
            "Mean number of places that an item moved from the order of the request.",
            buckets=_DISPLACEMENT,
            registry=r,
        )
        self._queue_items = Counter(
            "rerank_list_queue_items_total", "Items by the priority (0 first) of their queue.", ("queue",), registry=r
        )
        self._sources = Counter("rerank_list_items_total", "Items by who chose them.", ("source",), registry=r)
        self._source_counts = {source: self._sources.labels(source) for source in _SOURCES}
        self._queue_counts: list[Counter] = []

    def _make_shadow(self, shadow: tuple[str, str | None] | None) -> None:
        r, labels = self.registry, ("model", "version")
        self._compared = Counter(
            "rerank_shadow_total",
            "Lists sampled for comparison with the shadow model's, by what became of it.",
            (*labels, "outcome"),
            registry=r,
        )
        self._tau = Histogram(
            "rerank_shadow_kendall_tau",
            "Kendall's tau-b between the list that was given and the shadow's; 1: the same order.",
            labels,
            buckets=_TAU,
            registry=r,
        )
        self._overlap = Histogram(
            "rerank_shadow_overlap",
            "Share of the first k items of the list that was given that are among the shadow's first k.",
            (*labels, "k"),
            buckets=_OVERLAP,
            registry=r,
        )
        self._shadow = shadow
        if shadow is not None:
            self._compared.labels(shadow[0], shadow[1] or records.NO_MODEL, "unknown")

    def watch(
        self, *, in_flight: Callable[[], int], queue_depth: Callable[[], int], overloaded: Callable[[], bool]
    ) -> None:
        """Read these gauges when scraped."""
        self._readings += [(self._in_flight, in_flight), (self._depth, queue_depth), (self._overloaded, overloaded)]

    def refresh(self) -> None:
        """Give every gauge that has a source its value of now."""
        for gauge, read in self._readings:
            self._exposition.set(gauge, read())

    async def keep_fresh(self) -> NoReturn:
        """Refresh every second, for scrapes that another worker answers."""
        while True:
            self.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    def scrape(self) -> CollectorRegistry:
        """Return the metrics of the whole service."""
        self.refresh()
        return self._exposition.scrape()

    def reloaded(self, result: str) -> None:
        """Count one bundle that a reload has looked at: ``ok`` or ``refused``."""
        self._reloads.labels(result).inc()

    def dropped(self, reason: str) -> None:
        """Count one request that left the queue before inference, for one of `DROPPED`."""
        self._dropped.labels(reason).inc()

    def model_loaded(self, model: Model) -> None:
        """Create the model's series."""
        self._info.labels(model.name, model.version, model.manifest.family, model.engine.provider).set(1)
        for outcome in records.OUTCOMES:
            self._duration.labels(model.name, model.version, outcome)
        for i in range(len(self._queue_counts), model.manifest.limits.queues):
            self._queue_counts.append(self._queue_items.labels(str(i)))
        if self._shadow in ((model.name, model.version), (model.name, None)):
            self._shadow_loaded(model)

    def _shadow_loaded(self, model: Model) -> None:
        for outcome in records.SHADOW_OUTCOMES:
            self._compared.labels(model.name, model.version, outcome)
        self._tau.labels(model.name, model.version)
        for k in records.SHADOW_DEPTHS:
            self._overlap.labels(model.name, model.version, str(k))

    def model_retired(self, model: Model) -> None:
        """End the series of a version that is no longer live."""
        labels = (model.name, model.version, model.manifest.family, model.engine.provider)
        self._exposition.retire(self._info, *labels)

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        self._duration.labels(record.model, record.version, record.outcome).observe(record.seconds)
        if record.outcome not in _NOT_VALID:
            answered = record.outcome in _ANSWERED
            self.window.add(record.seconds, answered=answered, degraded=record.outcome == "degraded")
        if record.outcome == "rejected":
            self._rejections[record.reason or ""].inc()
        if record.degraded is not None:
            self._degraded.labels(record.degraded).inc()
        if record.choice is not None:
            self._choices[record.choice].inc()
        if record.would_degrade is not None:
            self._would_degrade.labels(record.would_degrade).inc()
        for header in record.ignored_headers:
            self._ignored.labels(header).inc()
        for stage, seconds in record.stages.items():
            self._stages[stage].observe(seconds)
        if record.candidates:
            self._candidates.observe(record.candidates)
        if record.batch_size:
            self._batch.observe(record.batch_size)
        if record.health is not None:
            self._observe_list(record.health)

    def observe_shadow(self, record: ShadowRecord) -> None:
        """Count one sampled request, and how far the lists agree."""
        self._compared.labels(record.model, record.version, record.outcome).inc()
        if record.tau is not None:
            self._tau.labels(record.model, record.version).observe(record.tau)
        for k, share in record.overlap.items():
            self._overlap.labels(record.model, record.version, str(k)).observe(share)

    def _observe_list(self, health: ListHealth) -> None:
        if health.diversity is not None:
            self._diversity.observe(health.diversity)
        self._displacement.observe(health.displacement)
        for counter, items in zip(self._queue_counts, health.queues, strict=False):
            if items:
                counter.inc(items)
        for source, items in health.sources.items():
            self._source_counts[source].inc(items)


class _Before(Collector):
    """Call a function each time a registry is collected; registered first, so before the rest."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do

    def collect(self) -> Iterable[Metric]:
        self._do()
        return ()
