"""Count faults of models: errors by version, hangs, requests dropped before their run."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from service.telemetry.instruments import Instruments
from service.telemetry.versions import VersionSeries

_DROPPED: Final = ("deadline", "client-gone")


class ErrorSeries:
    """Errors of one version of a model."""

    def __init__(self) -> None:
        text = "Requests, those of batches included, whose run failed or whose answer could not be used."
        self._errors = Counter("rerank_model_errors_total", text, ("model", "version"), registry=None)
        self.families = (self._errors,)

    def begin(self, model: str, version: str) -> None:
        """Make the series; one that exists goes on."""
        self._count = self._errors.labels(model, version)

    def add(self) -> None:
        """Count one error."""
        self._count.inc()


class EngineMetrics:
    """Hold the metrics of the engine's faults."""

    def __init__(self, make: Instruments) -> None:
        text = "Requests dropped from the queue before inference."
        self._dropped = make.counts("rerank_dropped_total", text, "reason", _DROPPED)
        text = "Runs of the engine that were given up; the process ends after one."
        self._hangs = make.count("rerank_engine_hangs_total", text)
        self.errors = VersionSeries(ErrorSeries)
        make.registry.register(self.errors)

    def dropped(self, reason: str) -> None:
        """Count one request that left the queue before inference: ``deadline`` or ``client-gone``."""
        self._dropped[reason].inc()

    def hung(self) -> None:
        """Count one run of the engine that was given up."""
        self._hangs.inc()

    def failed(self, model: str, version: str) -> None:
        """Count one request with which a version of a model failed."""
        self.errors.of(model, version).add()
