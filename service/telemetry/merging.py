"""Merge the metrics of several processes: sums, and gauges by their mode.

A worker takes snapshots of its registry; the supervisor keeps the last one of each, and what ended ones had counted. A
sum never falls, whatever happens to a worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from service.telemetry.snapshots import Family, Labels, Layout, Values
from service.telemetry.versions import KEY, LASTING_SECONDS, SCENE, Version

Parts = tuple[tuple[float, ...], ...]
"""For every sample of a series, numbers whose sum (or maximum) is what ended sources had."""


class _Key(NamedTuple):
    """Name one series of all."""

    family: str
    labels: Labels

    @property
    def version(self) -> Version | None:
        """Return the version, scene or API key that it is about, or None."""
        labels = dict(self.labels)
        if "scene" in labels:
            return (SCENE, labels["scene"])
        if "key" in labels:
            return (KEY, labels["key"])
        return (labels["model"], labels["version"]) if {"model", "version"} <= labels.keys() else None


@dataclass
class _Source:
    """The last snapshot of one process."""

    spans: Sequence[tuple[_Key, int, int]] = ()
    """Of each series, in the order of the values: its key, and where its values begin and end."""
    values: dict[_Key, Values] = field(default_factory=dict)


class Totals:
    """Hold the last snapshot of each source, and what ended sources had counted.

    Used from one thread, but for what `view` returns. `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: dict[object, _Source] = {}
        self._families: dict[str, Family] = {}
        self._samples: dict[_Key, tuple[tuple[str, str], ...]] = {}
        self._versions: dict[_Key, Version] = {}
        self._kept: dict[_Key, Parts] = {}
        self._changed: dict[Version, float] = {}

    def update(self, source: object, layout: Layout | None, values: Values) -> None:
        """Note a snapshot; without a layout, it has that of the source's last one.

        What the source no longer shows, or counts anew from 0, is kept: others may still show the same series.
        """
        known = self._sources.setdefault(source, _Source())
        if layout is not None:
            self._learn(layout)
            known.spans = _spans(layout)
        old, known.values = known.values, _by_series(known.spans, values)
        for key, before in old.items():
            now = known.values.get(key)
            counts = not self._families[key.family].mode
            if counts and (now is None or any(map(_fell, before, now))):
                self._keep(key, before)
        for key, version in self._versions.items():
            if key in known.values and old.get(key) != known.values[key]:
                self._changed[version] = self._clock()

    def end(self, source: object) -> None:
        """Keep what a source had counted, and drop gauges of those that run."""
        for key, values in self._sources.pop(source, _Source()).values.items():
            if not self._families[key.family].mode.startswith("live"):
                self._keep(key, values)

    def view(self, live: Collection[Version] = ()) -> CollectorRegistry:
        """Return what all have counted by now, to be rendered in any thread.

        `live` names versions, scenes and keys whose counts stay, even if no worker shows them now.
        """
        shown = {key for source in self._sources.values() for key in source.values}
        if shown:
            self._drop_ended({self._versions.get(key) for key in shown} | set(live))
        self._samples = {key: s for key, s in self._samples.items() if key in shown or key in self._kept}
        self._versions = {key: v for key, v in self._versions.items() if key in self._samples}
        sources = [source.values for source in self._sources.values()]
        registry = CollectorRegistry()
        registry.register(_View(self._families.copy(), self._samples, self._kept.copy(), sources))
        return registry

    def _learn(self, layout: Layout) -> None:
        samples = self._samples.copy()  # A view may be reading the old one.
        for family in layout:
            self._families[family.name] = family
            for series in family.series:
                key = _Key(family.name, series.labels)
                samples[key] = series.samples
                if (version := key.version) is not None:
                    self._versions[key] = version
        self._samples = samples

    def _keep(self, key: _Key, values: Values) -> None:
        mode = self._families[key.family].mode
        earlier = self._kept.get(key, ((),) * len(values))
        self._kept[key] = tuple(
            _condense(mode, parts if value is None else (*parts, value))
            for parts, value in zip(earlier, values, strict=True)
        )

    def _drop_ended(self, current: Collection[Version | None]) -> None:
        """Drop the versions that no worker shows and that have not counted for long."""
        limit = self._clock() - LASTING_SECONDS
        ended = {v for v, changed in self._changed.items() if v not in current and changed <= limit}
        if ended:
            self._kept = {key: parts for key, parts in self._kept.items() if self._versions.get(key) not in ended}
            self._changed = {v: changed for v, changed in self._changed.items() if v not in ended}


class _View(Collector):
    """Merge when collected, from parts that nobody changes."""

    def __init__(
        self,
        families: Mapping[str, Family],
        samples: Mapping[_Key, tuple[tuple[str, str], ...]],
        kept: Mapping[_Key, Parts],
        sources: Sequence[Mapping[_Key, Values]],
    ) -> None:
        self._families = families
        self._samples = samples
        self._kept = kept
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        metrics = {f.name: Metric(f.name, f.text, f.kind) for f in self._families.values()}
        for key, samples in self._samples.items():
            mode, labels = self._families[key.family].mode, dict(key.labels)
            earlier = self._kept.get(key, ((),) * len(samples))
            present = [source[key] for source in self._sources if key in source]
            for i, (name, edge) in enumerate(samples):
                parts = (*earlier[i], *(values[i] for values in present))
                labels_shown = {**labels, "le": edge} if edge else labels
                metrics[key.family].add_sample(name, labels_shown, _merge(mode, parts))
        yield from metrics.values()


def _spans(layout: Layout) -> list[tuple[_Key, int, int]]:
    found = []
    start = 0
    for family in layout:
        for series in family.series:
            end = start + len(series.samples)
            found.append((_Key(family.name, series.labels), start, end))
            start = end
    return found


def _by_series(spans: Sequence[tuple[_Key, int, int]], values: Values) -> dict[_Key, Values]:
    described = spans[-1][2] if spans else 0
    if described != len(values):
        raise ValueError(f"a snapshot describes {described} values, but has {len(values)}")
    return {key: values[start:end] for key, start, end in spans}


def _merge(mode: str, parts: Iterable[float | None]) -> float:
    """Merge one value of several sources; NaN if none has it."""
    known = [part for part in parts if part is not None]
    if not known:
        return math.nan
    return max(known) if mode.endswith("max") else math.fsum(known)


def _condense(mode: str, parts: Sequence[float]) -> tuple[float, ...]:
    """Return fewer parts with exactly the same merged value, whatever is added later.

    A rounded sum could make a later total fall by its last digit, which Prometheus takes for a restart.
    """
    if mode:
        return (max(parts),) if parts else ()
    found: list[float] = []
    while rest := math.fsum((*parts, *(-part for part in found))):
        found.append(rest)
    return tuple(found) or (0.0,)


def _fell(before: float | None, now: float | None) -> bool:
    return before is not None and (now is None or now < before)
