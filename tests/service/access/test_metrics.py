"""Requests are counted by key, in a closed set of labels: the live keys and none."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.telemetry import versions
from service.telemetry.keys import KeyMetrics
from service.telemetry.merging import Totals
from service.telemetry.snapshots import SnapshotReader
from service.telemetry.versions import KEY, LASTING_SECONDS
from tests.service.timing.test_limiter import Clock


def shown(registry: CollectorRegistry) -> set[str]:
    """Keys that have series."""
    return {sample.labels["key"] for metric in registry.collect() for sample in metric.samples}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(versions.VersionSeries.__init__, "__kwdefaults__", {"clock": found})
    return found


def test_series_of_a_key_begin_with_it_and_end_some_time_after_it(clock: Clock) -> None:
    registry = CollectorRegistry()
    metrics = KeyMetrics(registry)
    metrics.swapped({"old", "backend"})
    assert shown(registry) == {"none", "old", "backend"}
    metrics.swapped({"backend", "new"})
    assert shown(registry) == {"none", "old", "backend", "new"}
    clock.now += LASTING_SECONDS
    metrics.sweep()
    assert shown(registry) == {"none", "backend", "new"}


def test_counts_of_a_key_that_comes_back_go_on(clock: Clock) -> None:
    registry = CollectorRegistry()
    metrics = KeyMetrics(registry)
    metrics.swapped({"old"})
    metrics.refused("old", 1, limited=True)
    metrics.swapped(())
    clock.now += 1
    metrics.swapped({"old"})
    metrics.refused("old", 1, limited=True)
    assert registry.get_sample_value("rerank_key_requests_total", {"key": "old", "result": "limited"}) == 2


def test_of_several_workers_the_series_of_a_key_that_is_gone_end_too(clock: Clock) -> None:
    totals = Totals(clock)
    registries = [CollectorRegistry() for _ in range(2)]
    for i, registry in enumerate(registries):
        metrics = KeyMetrics(registry)
        metrics.swapped({"old"})
        metrics.refused("old", 1, limited=False)
        totals.update(i, *SnapshotReader(registry, {}).read())
    labels = {"key": "old", "result": "refused"}
    assert totals.view([(KEY, "old")]).get_sample_value("rerank_key_requests_total", labels) == 2
    for i in range(2):
        totals.end(i)
    fresh = CollectorRegistry()
    KeyMetrics(fresh)
    totals.update("fresh", *SnapshotReader(fresh, {}).read())
    assert totals.view().get_sample_value("rerank_key_requests_total", labels) == 2
    clock.now += LASTING_SECONDS
    assert shown(totals.view()) == {"none"}
