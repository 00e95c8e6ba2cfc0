"""Count what lists look like: diversity, displacement, and who chose their items."""

from __future__ import annotations

from typing import Final, get_args

from prometheus_client import Counter

from service.contract.schemas import Source
from service.telemetry.instruments import Instruments
from service.telemetry.records import ListHealth

_DISPLACEMENT: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_DIVERSITY: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)


class ListMetrics:
    """Hold the metrics of lists that have been sent."""

    def __init__(self, make: Instruments) -> None:
        text = "Mean of 1 - cosine over pairs of the model's items that have an embedding."
        self._diversity = make.histogram("rerank_list_diversity", text, _DIVERSITY)
        text = "Mean number of places that an item moved from the order of the request."
        self._displacement = make.histogram("rerank_list_displacement", text, _DISPLACEMENT)
        text = "Items by the priority (0 first) of their queue."
        self._queue_items = Counter("rerank_list_queue_items_total", text, ("queue",), registry=make.registry)
        self._queue_counts: list[Counter] = []
        self._sources = make.counts("rerank_list_items_total", "Items by who chose them.", "source", get_args(Source))

    def begin_queues(self, queues: int) -> None:
        """Make the series of so many queues; those that exist go on."""
        for i in range(len(self._queue_counts), queues):
            self._queue_counts.append(self._queue_items.labels(str(i)))

    def observe(self, health: ListHealth) -> None:
        """Count one list."""
        if health.diversity is not None:
            self._diversity.observe(health.diversity)
        self._displacement.observe(health.displacement)
        for counter, items in zip(self._queue_counts, health.queues, strict=False):
            if items:
                counter.inc(items)
        for source, items in health.sources.items():
            self._sources[source].inc(items)
