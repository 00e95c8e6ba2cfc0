"""Count requests by scene."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.scenes.scene import NO_SCENE
from service.telemetry import records
from service.telemetry.named_series import NamedSeries
from service.telemetry.records import RequestOutcome, RequestRecord
from service.telemetry.versions import SCENE


class SceneSeries:
    """Requests of one scene."""

    def __init__(self, edges: Sequence[float]) -> None:
        text = "Requests by scene; none: they named none, or ended before it was known."
        self._requests = Counter("rerank_scene_requests_total", text, ("scene", "outcome"), registry=None)
        text = "From arrival to the last byte handed to the socket, of requests that were answered with a list."
        name = "rerank_scene_duration_seconds"
        self._duration = Histogram(name, text, ("scene",), buckets=edges, registry=None)
        text = "Pins of scenes that could not be kept: no candidate, blocked, already shown, or past top_n."
        self._ignored_pins = Counter("rerank_ignored_pins_total", text, ("scene",), registry=None)
        self.families = (self._requests, self._duration, self._ignored_pins)
        self.outcomes: dict[RequestOutcome, Counter] = {}

    def begin(self, _: str, scene: str) -> None:
        """Make all series; those that exist go on."""
        self.outcomes = {outcome: self._requests.labels(scene, outcome) for outcome in records.OUTCOMES}
        self._answered = self._duration.labels(scene)
        self._ignored = self._ignored_pins.labels(scene)

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        self.outcomes[record.outcome].inc()
        if record.outcome in records.ANSWERED:
            self._answered.observe(record.seconds)
        if record.ignored_pins:
            self._ignored.inc(record.ignored_pins)


class SceneMetrics:
    """Hold the series of the live scenes, and of requests without one."""

    def __init__(self, registry: CollectorRegistry, edges: Sequence[float]) -> None:
        self._series = NamedSeries(SCENE, NO_SCENE, lambda: SceneSeries(edges), registry)
        self.swapped, self.sweep = self._series.swapped, self._series.sweep

    def observe(self, record: RequestRecord) -> None:
        """Count one request."""
        self._series.of(record.scene).observe(record)

    def refused(self, outcome: RequestOutcome, requests: int) -> None:
        """Count requests that were refused before their scene was known."""
        self._series.of(NO_SCENE).outcomes[outcome].inc(requests)
