"""Count request records in Prometheus metrics.

Names and labels are a contract with dashboards and alerts. Each instance has a collector registry of its own, and every
series exists from the start: label sets are closed. The exposition decides where the values live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, get_args

from prometheus_client import Counter, Gauge, Histogram

from service.bundles.model import Model
from service.contract.schemas import DegradedReason, Source
from service.telemetry import records
from service.telemetry.batches import BatchMetrics
from service.telemetry.bundles import REFUSED, REFUSED_MODE, BundleMetrics
from service.telemetry.catalogues import SIZE, SIZE_MODE, CatalogueMetrics
from service.telemetry.exposition import Exposition, Scrape
from service.telemetry.field_series import FieldSeries
from service.telemetry.live_values import LiveValueMetrics
from service.telemetry.records import ListHealth, RequestOutcome, RequestRecord, ShadowRecord
from service.telemetry.refusals import PendingRefusals, Refused
from service.telemetry.rolling import RollingWindow
from service.telemetry.scenes import SceneMetrics
from service.telemetry.snapshots import MergeMode
from service.telemetry.spans import SPAN_RESULTS, SpanResult
from service.telemetry.versions import RequestSeries, ShadowSeries, VersionSeries
from service.timing.deadline import HEADERS

# One edge is exactly the usual budget, 19 ms.
_SECONDS: Final = tuple(ms / 1e3 for ms in (1, 2, 4, 6, 8, 10, 13, 16, 19, 22, 26, 35, 50, 100, 250, 1000))
_STAGE_SECONDS: Final = (0.00005, 0.0001, 0.0002, 0.0005, *_SECONDS)
_CANDIDATES: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64)
_DISPLACEMENT: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_DIVERSITY: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)
_REJECTED: Final = ("not-ready", "overloaded", "shed")
_DROPPED: Final = ("deadline", "client-gone")
_CONNECTIONS_REFUSED: Final = ("limit", "descriptors", "unfinished")
_NOT_VALID: Final[frozenset[RequestOutcome]] = frozenset(("invalid", "cancelled"))


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
        self._exposition = exposition or Exposition()
        self.registry = self._exposition.registry
        self.respond: Scrape = self._exposition.make_scrape(self.refresh)
        self._window = RollingWindow()
        self._pending = PendingRefusals(self._count_refusals)
        self.refused = self._pending.add
        self._readings: list[tuple[Gauge, Callable[[], float]]] = []
        self._make_requests(budget_seconds)
        self._make_reasons()
        self._make_gauges(budget_seconds)
        self._make_connections()
        self._make_lists()
        self._make_engine()
        self._make_spans()
        self._make_shadow(shadow)
        self._make_bundles()
        self._fields = VersionSeries(FieldSeries)
        self.registry.register(self._fields)
        self._exposition.modes[SIZE] = SIZE_MODE
        self._catalogues = CatalogueMetrics(self.registry)
        self.catalogues_swapped = self._catalogues.swapped
        self.batches = BatchMetrics(self.registry)
        self.live_values = LiveValueMetrics(self.registry)
        self._scenes = SceneMetrics(self.registry, _edges(budget_seconds))
        self.scenes_swapped = self._scenes.swapped

    def _counter(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """Make a counter with one closed label; return a series for each of its values."""
        counter = Counter(name, text, (label,), registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def _gauge(self, name: str, text: str, mode: MergeMode, labels: Sequence[str] = ()) -> Gauge:
        """Make a gauge; `mode` merges the values of several workers, `live` of those that run."""
        self._exposition.modes[name] = mode
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _make_requests(self, budget: float) -> None:
        edges = _edges(budget)
        self._requests = VersionSeries(lambda: RequestSeries(edges))
        not_answered = [outcome for outcome in records.OUTCOMES if outcome not in records.ANSWERED]
        no_model = (records.NO_MODEL, records.NO_MODEL)
        self._requests.pin(*no_model).begin(*no_model, not_answered)
        self.registry.register(self._requests)
        stage = self._histogram("rerank_stage_duration_seconds", "Time in one stage.", _STAGE_SECONDS, ("stage",))
        self._stages = {name: stage.labels(name) for name in records.STAGES}
        self._candidates = self._histogram("rerank_candidates", "Candidates in a request.", _CANDIDATES)
        self._batch = self._histogram("rerank_batch_size", "Requests in one run.", _BATCH)

    def _make_reasons(self) -> None:
        reasons = get_args(DegradedReason)
        self._degraded = self._counter("rerank_degraded_total", "Lists that are not the model's.", "reason", reasons)
        text = "Lists that deadlines, had they been enforced, would have taken from the model."
        self._would_degrade = self._counter("rerank_would_degrade_total", text, "reason", reasons[:2])
        self._rejected = self._counter("rerank_rejected_total", "Requests answered 503.", "reason", _REJECTED)
        text = "Requests dropped from the queue before inference."
        self._dropped = self._counter("rerank_dropped_total", text, "reason", _DROPPED)
        text = (
            "Lists that are not degraded, by who made them: the model's plan, the sort's list where the model valued "
            "it higher, or the sort without running the model (bypass)."
        )
        self._choices = self._counter("rerank_list_choice_total", text, "choice", records.CHOICES)
        text = "Deadlines in headers that made no sense."
        headers = [name.decode() for name in HEADERS]
        self._ignored = self._counter("rerank_deadline_headers_ignored_total", text, "header", headers)

    def _make_gauges(self, budget: float) -> None:
        self._in_flight = self._gauge("rerank_in_flight", "Requests in progress.", "livesum")
        self._depth = self._gauge("rerank_queue_depth", "Requests that wait for the engine.", "livesum")
        self._overloaded = self._gauge("rerank_overloaded", "1 while a queue stands that does not empty.", "livemax")
        self._gauge("rerank_latency_budget_seconds", "The latency budget.", "max").set(budget)
        text = "99th percentile of valid requests in the last 60 s."
        p99 = self._gauge("rerank_latency_p99_seconds", text, "livemax")
        self._readings.append((p99, lambda: self._window.quantile(0.99)))
        labels = ("model", "version", "family", "provider")
        self._info = self._gauge("rerank_model_info", "1 for each live model.", "livemax", labels)

    def _make_connections(self) -> None:
        self._connections = self._gauge("rerank_connections", "Open connections of clients.", "livesum")
        text = "Bytes of requests that have come in part."
        self._unfinished = self._gauge("rerank_unfinished_bytes", text, "livesum")
        text = "Connections that were answered 503 and closed."
        name = "rerank_connections_refused_total"
        self._connections_refused = self._counter(name, text, "reason", _CONNECTIONS_REFUSED)

    def _make_lists(self) -> None:
        text = "Mean of 1 - cosine over pairs of the model's items that have an embedding."
        self._diversity = self._histogram("rerank_list_diversity", text, _DIVERSITY)
        text = "Mean number of places that an item moved from the order of the request."
        self._displacement = self._histogram("rerank_list_displacement", text, _DISPLACEMENT)
        text = "Items by the priority (0 first) of their queue."
        self._queue_items = Counter("rerank_list_queue_items_total", text, ("queue",), registry=self.registry)
        self._queue_counts: list[Counter] = []
        self._sources = self._counter("rerank_list_items_total", "Items by who chose them.", "source", get_args(Source))

    def _make_engine(self) -> None:
        text = "Runs of the engine that were given up; the process ends after one."
        self._hangs = Counter("rerank_engine_hangs_total", text, registry=self.registry)

    def _make_spans(self) -> None:
        text = "Spans of traces by what became of them: taken by the collector, dropped before it, or refused by it."
        self._spans = self._counter("rerank_spans_total", text, "result", SPAN_RESULTS)

    def _make_shadow(self, shadow: tuple[str, str | None] | None) -> None:
        self._shadow = shadow
        self._comparisons = VersionSeries(ShadowSeries)
        if shadow is not None:
            wanted = (shadow[0], shadow[1] or records.NO_MODEL)
            self._comparisons.pin(*wanted).missing(*wanted)
        self.registry.register(self._comparisons)

    def _make_bundles(self) -> None:
        self._exposition.modes[REFUSED] = REFUSED_MODE
        bundles = BundleMetrics(self.registry)
        self.reloaded, self.bundle_refused = bundles.reloaded, bundles.bundle_refused
        self.scenes_reloaded, self.catalogues_reloaded = bundles.scenes_reloaded, bundles.catalogues_reloaded

    @property
    def window(self) -> RollingWindow:
        """The last minute's requests."""
        self._pending.flush()
        return self._window

    def watch(
        self, *, in_flight: Callable[[], int], queue_depth: Callable[[], int], overloaded: Callable[[], bool]
    ) -> None:
        """Read these gauges when scraped."""
        self._readings += [(self._in_flight, in_flight), (self._depth, queue_depth), (self._overloaded, overloaded)]

    def watch_connections(self, *, connections: Callable[[], int], unfinished_bytes: Callable[[], int]) -> None:
        """Read the gauges of connections when scraped."""
        self._readings += [(self._connections, connections), (self._unfinished, unfinished_bytes)]

    def connection_refused(self, reason: str) -> None:
        """Count a connection that was refused: ``limit``, ``descriptors`` or ``unfinished``."""
        self._connections_refused[reason].inc()

    def refresh(self) -> None:
        """Give every gauge that has a source its value, and end series of retired versions."""
        self._pending.flush()
        self._sweep()
        for gauge, read in self._readings:
            gauge.set(read())  # NaN: there is none now.

    def _sweep(self) -> None:
        self._requests.sweep()
        self._comparisons.sweep()
        self._fields.sweep()
        self._catalogues.items.sweep()
        self._scenes.sweep()

    def spans_ended(self, result: SpanResult, spans: int) -> None:
        """Count spans of traces; may be called from any thread."""
        self._spans[result].inc(spans)

    def engine_hung(self) -> None:
        """Count one run of the engine that was given up."""
        self._hangs.inc()

    def dropped(self, reason: str) -> None:
        """Count one request that left the queue before inference: ``deadline`` or ``client-gone``."""
        self._dropped[reason].inc()

    def model_loaded(self, model: Model) -> None:
        """Create the model's series."""
        self._info.labels(model.name, model.version, model.manifest.family, model.engine.provider).set(1)
        self._sweep()  # Here too, since nobody may scrape.
        self._requests.publish(model.name, model.version)
        self._fields.publish(model.name, model.version)
        self._catalogues.items.publish(model.name, model.version)
        self._fields.of(model.name, model.version).declare(model.fields.paths)
        for i in range(len(self._queue_counts), model.manifest.limits.queues):
            self._queue_counts.append(self._queue_items.labels(str(i)))
        if self._shadow in ((model.name, model.version), (model.name, None)):
            self._comparisons.publish(model.name, model.version)

    def model_retired(self, model: Model) -> None:
        """Say that a version is no longer live; its counts stay for a while."""
        self._info.remove(model.name, model.version, model.manifest.family, model.engine.provider)
        self._requests.retire(model.name, model.version)
        self._fields.retire(model.name, model.version)
        self._catalogues.items.retire(model.name, model.version)
        self._comparisons.retire(model.name, model.version)

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        exemplar = None if record.spans is None else {"trace_id": record.spans.trace_id}
        self._requests.of(record.model, record.version).outcomes[record.outcome].observe(record.seconds, exemplar)
        self._scenes.observe(record)
        if record.outcome not in _NOT_VALID:
            answered = record.outcome in records.ANSWERED
            self._window.add(record.seconds, answered=answered, degraded=record.outcome == "degraded")
        if record.outcome == "rejected":
            self._rejected[record.reason or ""].inc()
        if record.degraded is not None:
            self._degraded[record.degraded].inc()
        if record.choice is not None:
            self._choices[record.choice].inc()
        if record.would_degrade is not None:
            self._would_degrade[record.would_degrade].inc()
        for header in record.ignored_headers:
            self._ignored[header].inc()
        for stage, seconds in record.stages.items():
            self._stages[stage].observe(seconds)
        if record.candidates:
            self._candidates.observe(record.candidates)
        if record.batch_size:
            self._batch.observe(record.batch_size)
        if record.fields is not None:
            self._fields.of(record.model, record.version).add(record.fields)
        if record.items is not None:
            self._catalogues.items.of(record.model, record.version).add(record.items)
        if record.health is not None:
            self._observe_list(record.health)

    def _count_refusals(self, refusals: Sequence[Refused]) -> None:
        """Count requests that were refused by their headers, as `observe` would."""
        durations = self._requests.of(records.NO_MODEL, records.NO_MODEL).outcomes["rejected"]
        for refused in refusals:
            durations.observe(refused.seconds)
            self._stages["lag"].observe(refused.seconds)
            self._window.add(refused.seconds, answered=False, degraded=False, ended=refused.ended)
            self._rejected[refused.reason].inc()
        self._scenes.refused(len(refusals))

    def observe_shadow(self, record: ShadowRecord) -> None:
        """Count one sampled request, and how far the lists agree."""
        self._comparisons.of(record.model, record.version).observe(record)

    def _observe_list(self, health: ListHealth) -> None:
        if health.diversity is not None:
            self._diversity.observe(health.diversity)
        self._displacement.observe(health.displacement)
        for counter, items in zip(self._queue_counts, health.queues, strict=False):
            if items:
                counter.inc(items)
        for source, items in health.sources.items():
            self._sources[source].inc(items)


def _edges(budget: float) -> list[float]:
    """Return the edges of a request's duration; one is the budget."""
    return sorted({*_SECONDS, budget})
