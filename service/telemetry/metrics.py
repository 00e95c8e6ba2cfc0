"""Count request records in Prometheus metrics.

Names and labels are a contract with dashboards and alerts. Each instance has a collector registry of its own, and every
series exists from the start: label sets are closed. The exposition decides where the values live.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from service.bundles.model import Model
from service.telemetry import records
from service.telemetry.batches import BatchMetrics
from service.telemetry.bundles import REFUSED_MODES, BundleMetrics
from service.telemetry.catalogues import GAUGE_MODES, CatalogueMetrics
from service.telemetry.connections import ConnectionMetrics
from service.telemetry.engine import EngineMetrics
from service.telemetry.exposition import Exposition, Scrape
from service.telemetry.field_series import FieldSeries
from service.telemetry.instruments import Instruments, Reading
from service.telemetry.keys import AccessMetrics, KeyMetrics
from service.telemetry.lists import ListMetrics
from service.telemetry.live_values import LiveValueMetrics
from service.telemetry.objectives import Objectives
from service.telemetry.records import RequestOutcome, RequestRecord, ShadowRecord
from service.telemetry.refusals import PendingRefusals, Refused
from service.telemetry.requests import RequestMetrics, duration_edges
from service.telemetry.rolling import WINDOWS, Gathered, WindowCounts
from service.telemetry.scenes import SceneMetrics
from service.telemetry.spans import SPAN_RESULTS, SpanResult
from service.telemetry.versions import ShadowSeries, VersionSeries

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
        self._budget = budget_seconds
        self._pending = PendingRefusals(self._count_refusals)
        self.refused = self._pending.add
        self._readings: list[Reading] = []
        make = Instruments(self._exposition)
        self._requests = RequestMetrics(make, budget_seconds)
        self._objectives = Objectives(make, budget_seconds)
        self._make_gauges(make)
        self._connections = ConnectionMetrics(make)
        self.connection_refused, self.head_refused = self._connections.refused, self._connections.head_refused
        self.watch_connections = self._connections.watch
        self._lists = ListMetrics(make)
        self._engine = EngineMetrics(make)
        self.engine_hung, self.dropped, self.model_failed = self._engine.hung, self._engine.dropped, self._engine.failed
        text = "Spans of traces by what became of them: taken by the collector, dropped before it, or refused by it."
        self._spans = make.counts("rerank_spans_total", text, "result", SPAN_RESULTS)
        self._make_shadow(shadow)
        self._make_bundles()
        self._fields = VersionSeries(FieldSeries)
        self.registry.register(self._fields)
        self._exposition.modes.update(GAUGE_MODES)
        self._catalogues = CatalogueMetrics(self.registry)
        self.catalogues_swapped = self._catalogues.swapped
        self.batches = BatchMetrics(self.registry)
        self.live_values = LiveValueMetrics(self.registry)
        self._scenes = SceneMetrics(self.registry, duration_edges(budget_seconds))
        self.scenes_swapped = self._scenes.swapped
        self.keys = KeyMetrics(self.registry)
        self.access = AccessMetrics(self.registry)
        self._by_version = (self._requests.durations, self._fields, self._catalogues.items, self._engine.errors)

    def _make_gauges(self, make: Instruments) -> None:
        self._in_flight = make.gauge("rerank_in_flight", "Requests in progress.", "livesum")
        self._depth = make.gauge("rerank_queue_depth", "Requests that wait for the engine.", "livesum")
        text = "1 while a queue stands that does not empty."
        self._overloaded = make.gauge("rerank_overloaded", text, "livemax")
        text = "1 while this process is ready, as /v2/health/ready tells; of several workers, while any is."
        self._ready = make.gauge("rerank_ready", text, "livemax")
        make.gauge("rerank_latency_budget_seconds", "The latency budget.", "max").set(self._budget)
        text = "99th percentile of valid requests in the last 60 s, within 2%."
        self._readings.append((make.gauge("rerank_latency_p99_seconds", text, "livemax"), self._p99))
        labels = ("model", "version", "family", "provider")
        self._info = make.gauge("rerank_model_info", "1 for each live model.", "livemax", labels)

    def _make_shadow(self, shadow: tuple[str, str | None] | None) -> None:
        self._shadow = shadow
        self._comparisons = VersionSeries(ShadowSeries)
        if shadow is not None:
            wanted = (shadow[0], shadow[1] or records.NO_MODEL)
            self._comparisons.pin(*wanted).missing(*wanted)
        self.registry.register(self._comparisons)

    def _make_bundles(self) -> None:
        self._exposition.modes.update(REFUSED_MODES)
        bundles = BundleMetrics(self.registry)
        self.reloaded, self.bundle_refused = bundles.reloaded, bundles.bundle_refused
        self.scenes_renewed, self.catalogues_renewed = bundles.scenes_renewed, bundles.catalogues_renewed

    def windows(self) -> tuple[WindowCounts, ...]:
        """Return what this process has counted in the last minutes."""
        self._pending.flush()
        return self._objectives.recent.windows()

    async def gather_windows(self) -> Gathered:
        """Return the same of all workers that answer in time."""
        return await self._exposition.gather(self.windows)

    def _p99(self) -> float:
        return self._objectives.recent.window(WINDOWS[0]).quantile(0.99, self._budget)

    def watch(
        self,
        *,
        in_flight: Callable[[], int],
        queue_depth: Callable[[], int],
        overloaded: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        """Read these gauges when scraped."""
        self._readings += [(self._in_flight, in_flight), (self._depth, queue_depth)]
        self._readings += [(self._overloaded, overloaded), (self._ready, ready)]

    def refresh(self) -> None:
        """Give every gauge that has a source its value, and end series of retired versions."""
        self._pending.flush()
        self._sweep()
        for gauge, read in (*self._readings, *self._connections.readings):
            gauge.set(read())  # NaN: there is none now.

    def _sweep(self) -> None:
        for series in self._by_version:
            series.sweep()
        self._comparisons.sweep()
        self._scenes.sweep()
        self.keys.sweep()

    def spans_ended(self, result: SpanResult, spans: int) -> None:
        """Count spans of traces; may be called from any thread."""
        self._spans[result].inc(spans)

    def model_loaded(self, model: Model) -> None:
        """Create the model's series."""
        self._info.labels(model.name, model.version, model.manifest.family, model.engine.provider).set(1)
        self._sweep()  # Here too, since nobody may scrape.
        for series in self._by_version:
            series.publish(model.name, model.version)
        self._fields.of(model.name, model.version).declare(model.fields.paths)
        self._lists.begin_queues(model.manifest.limits.queues)
        if self._shadow in ((model.name, model.version), (model.name, None)):
            self._comparisons.publish(model.name, model.version)

    def model_retired(self, model: Model) -> None:
        """Say that a version is no longer live; its counts stay for a while."""
        self._info.remove(model.name, model.version, model.manifest.family, model.engine.provider)
        for series in (*self._by_version, self._comparisons):
            series.retire(model.name, model.version)

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        self._requests.observe(record)
        self._scenes.observe(record)
        self.keys.observe(record)
        if record.outcome not in _NOT_VALID:
            answered = record.outcome in records.ANSWERED
            self._objectives.add(record.seconds, answered=answered, degraded=record.outcome == "degraded")
        if record.fields is not None:
            self._fields.of(record.model, record.version).add(record.fields)
        if record.items is not None:
            self._catalogues.items.of(record.model, record.version).add(record.items)
        if record.health is not None:
            self._lists.observe(record.health)

    def _count_refusals(self, refusals: Sequence[Refused]) -> None:
        """Count requests that were refused by their headers, as `observe` would."""
        self._requests.refused(refusals)
        alike: dict[tuple[RequestOutcome, str], int] = defaultdict(int)
        for refused in refusals:
            alike[refused.outcome, refused.key] += 1
            if refused.outcome not in _NOT_VALID:
                self._objectives.add(refused.seconds, answered=False, degraded=False, ended=refused.ended)
        for (outcome, key), requests in alike.items():
            self._scenes.refused(outcome, requests)
            self.keys.refused(key, requests, limited=outcome == "invalid")

    def observe_shadow(self, record: ShadowRecord) -> None:
        """Count one sampled request, and how far the lists agree."""
        self._comparisons.of(record.model, record.version).observe(record)
