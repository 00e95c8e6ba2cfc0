"""Take snapshots of a registry, to be merged in another process."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample

from service.telemetry.pacing import paced, pause

MergeMode = Literal["livesum", "livemax", "max"]
"""How a gauge of several workers becomes one; `live`: of those that run."""

Labels = tuple[tuple[str, str], ...]
Values = tuple[float | None, ...]


class Series(Struct, array_like=True, frozen=True):
    """Describe one label set of a metric, and its samples.

    A sample is a name and the edge of a bucket, which is empty for all but buckets.
    """

    labels: Labels
    samples: tuple[tuple[str, str], ...]


class Family(Struct, array_like=True, frozen=True):
    """Describe one metric; `mode` says how a gauge is merged; empty: sum."""

    name: str
    kind: str
    text: str
    mode: str
    series: tuple[Series, ...]


Layout = tuple[Family, ...]


class SnapshotReader:
    """Read a registry again and again, in any one thread."""

    def __init__(self, registry: CollectorRegistry, modes: Mapping[str, MergeMode]) -> None:
        self._registry = registry
        self._modes = modes
        self._labels: list[tuple[str, dict[str, str]]] = []
        self._layout: Layout = ()

    def read(self) -> tuple[Layout, Values]:
        """Return what the registry holds, and the values in that order; NaN becomes None.

        The layout is the same object as long as nothing but values changes.
        """
        families = [(metric, list(paced(metric.samples))) for metric in self._registry.collect()]
        pause()
        samples = [sample for _, found in families for sample in found]
        labels = [(sample.name, sample.labels) for sample in samples]
        if labels != self._labels:
            self._layout = tuple(self._describe(metric, found) for metric, found in families)
            self._labels = labels
        pause()
        return self._layout, tuple(None if math.isnan(sample.value) else sample.value for sample in samples)

    def _describe(self, metric: Metric, samples: Sequence[Sample]) -> Family:
        series = tuple(
            Series(labels, tuple((sample.name, sample.labels.get("le", "")) for sample in group))
            for labels, group in itertools.groupby(paced(samples), _series_labels)
        )
        mode = self._modes[metric.name] if metric.type == "gauge" else ""
        return Family(metric.name, metric.type, metric.documentation, mode, series)


def _series_labels(sample: Sample) -> Labels:
    return tuple((name, value) for name, value in sample.labels.items() if name != "le")
