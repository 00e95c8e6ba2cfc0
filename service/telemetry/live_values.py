"""Count what a live source of values of items does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.catalogues.source import READ_RESULTS, VALUE_STATES, ReadResult, ValueState

_SECONDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.05, 0.1, 0.5)


class LiveValueMetrics:
    """Be the `LiveObserver` of a process; without a source all stay at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Reads of live values, one or two of a request, by what became of them."
        reads = Counter("rerank_catalogue_live_reads_total", text, ("result",), registry=registry)
        self._reads: dict[ReadResult, Counter] = {result: reads.labels(result) for result in READ_RESULTS}
        text = "Values that the live source was asked for: known, missing, or refused as they cannot be used."
        values = Counter("rerank_catalogue_live_values_total", text, ("state",), registry=registry)
        self._values: dict[ValueState, Counter] = {state: values.labels(state) for state in VALUE_STATES}
        text = "Time of one exchange with the live source, which may serve several requests."
        name = "rerank_catalogue_live_exchange_seconds"
        self._exchanges = Histogram(name, text, buckets=_SECONDS, registry=registry)

    def read(self, result: ReadResult) -> None:
        """Count one read of a request."""
        self._reads[result].inc()

    def exchanged(self, seconds: float) -> None:
        """Count one exchange with the source."""
        self._exchanges.observe(seconds)

    def values(self, counts: Mapping[ValueState, int]) -> None:
        """Count the values of one answer."""
        for state, count in counts.items():
            self._values[state].inc(count)
