"""Count the values of a model's fields by what the model could make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from prometheus_client import Metric

from models.contract.arrays import Ints
from service.contract.field_values import FIELD_STATES, FieldCounts

_NAME: Final = "rerank_field_values"
_TEXT: Final = (
    "Values of the fields of the model, in the candidates that it looked at and in their users and contexts: known, "
    "missing, or unknown to its vocabulary."
)


class FieldSeries:
    """Values of one version's fields.

    A request changes one array, whatever the number of fields: single counters would take longer than all the rest.
    """

    def __init__(self) -> None:
        self._labels: tuple[str, str] = ("", "")
        self._fields: tuple[str, ...] = ()
        self._counts: Ints = np.zeros((0, len(FIELD_STATES)), np.int64)
        self.families = (self,)

    def begin(self, model: str, version: str) -> None:
        """Take the labels; the series begin once the fields are known."""
        self._labels = model, version

    def declare(self, fields: tuple[str, ...]) -> None:
        """Begin the series of these fields; those that exist go on."""
        if fields != self._fields:
            old = dict(zip(self._fields, self._counts.tolist(), strict=True))
            none = [0] * len(FIELD_STATES)
            counts = np.array([old.get(field, none) for field in fields], np.int64)
            self._fields, self._counts = fields, counts.reshape(-1, len(FIELD_STATES))

    def add(self, found: FieldCounts) -> None:
        """Count the values of one request."""
        self.declare(found.fields)
        self._counts = self._counts + found.counts  # A new array: a scrape in a thread never sees half a change.

    def describe(self) -> Sequence[Metric]:
        """Return the metric without samples."""
        return [Metric(_NAME, _TEXT, "counter")]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric with its samples."""
        metric = Metric(_NAME, _TEXT, "counter")
        model, version = self._labels
        for field, counts in zip(self._fields, self._counts.tolist(), strict=False):
            for state, count in zip(FIELD_STATES, counts, strict=True):
                labels = {"model": model, "version": version, "field": field, "state": state}
                metric.add_sample(f"{_NAME}_total", labels, float(count))
        yield metric
