"""Count the values of a model's fields by what the model could make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from prometheus_client import Metric

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
        self._found = FieldCounts((), np.zeros((0, len(FIELD_STATES)), np.int64))
        self.families = (self,)

    def begin(self, model: str, version: str) -> None:
        """Take the labels; the series begin once the fields are known."""
        self._labels = model, version

    def declare(self, fields: tuple[str, ...]) -> None:
        """Begin the series of these fields; those that exist go on."""
        old = self._found
        new = tuple(field for field in fields if field not in old.fields)
        nothing = np.zeros((len(new), len(FIELD_STATES)), np.int64)
        self._found = FieldCounts(old.fields + new, np.concatenate((old.counts, nothing)))

    def add(self, found: FieldCounts) -> None:
        """Count the values of one request."""
        fields = self._found.fields
        if found.fields == fields:
            counts = self._found.counts + found.counts
        else:  # The version has been published with other fields before.
            self.declare(found.fields)
            fields, counts = self._found.fields, self._found.counts.copy()
            counts[[fields.index(field) for field in found.fields]] += found.counts
        # A new object, so that a scrape in a thread never sees half a change.
        self._found = FieldCounts(fields, counts)

    def describe(self) -> Sequence[Metric]:
        """Return the metric without samples."""
        return [Metric(_NAME, _TEXT, "counter")]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric with its samples."""
        metric = Metric(_NAME, _TEXT, "counter")
        model, version = self._labels
        found = self._found
        for field, counts in zip(found.fields, found.counts.tolist(), strict=True):
            for state, count in zip(FIELD_STATES, counts, strict=True):
                labels = {"model": model, "version": version, "field": field, "state": state}
                metric.add_sample(f"{_NAME}_total", labels, float(count))
        yield metric
