"""Count batches and their requests, which are outside the latency objective of single requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.telemetry.records import OUTCOMES, RequestOutcome, RequestRecord

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class BatchMetrics:
    """Count each batch by how it ended as a whole, and each of its requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Time to answer a batch as a whole; an outcome of ok says nothing about its requests."
        name = "rerank_batch_duration_seconds"
        batches = Histogram(name, text, ("outcome",), buckets=_SECONDS, registry=registry)
        # A batch as a whole is never degraded.
        whole = [outcome for outcome in OUTCOMES if outcome != "degraded"]
        self._batches: dict[RequestOutcome, Histogram] = {outcome: batches.labels(outcome) for outcome in whole}
        text = "Requests of batches by outcome; no other series counts them, but for the engine's own."
        requests = Counter("rerank_batch_requests_total", text, ("outcome",), registry=registry)
        self._requests = {outcome: requests.labels(outcome) for outcome in OUTCOMES}

    def observe_batch(self, record: RequestRecord, _: Mapping[RequestOutcome, int]) -> None:
        """Count one batch."""
        self._batches[record.outcome].observe(record.seconds)

    def observe_request(self, record: RequestRecord) -> None:
        """Count one request of a batch."""
        self._requests[record.outcome].inc()
