"""The values of fields in the metrics: from the start, summed over requests and workers, and gone with the version."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.contract.field_values import FieldCounts
from service.telemetry.field_series import FieldSeries
from service.telemetry.merging import Totals
from service.telemetry.scrape import OPENMETRICS
from service.telemetry.snapshots import SnapshotReader
from service.telemetry.versions import LASTING_SECONDS, VersionSeries
from tests.service.live import fake_model, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import Options

NAME = "rerank_field_values_total"
PATHS = {
    "user.age",
    "user.visits",
    "context.hour",
    "item.category",
    "item.brand",
    "item.stars",
    "scores.ctr",
    "scores.cvr",
    "scores.relevance",
    "price",
}


def made(**counts: tuple[int, int, int]) -> FieldCounts:
    return FieldCounts(tuple(counts), np.array(list(counts.values()), np.int64))


def shown(registry: CollectorRegistry, version: str = "1") -> dict[tuple[str, str], float]:
    """Field and state to the count of one version of the model m."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [s for f in families for s in f.samples if s.name == NAME and s.labels["version"] == version]
    return {(s.labels["field"], s.labels["state"]): s.value for s in samples}


def test_every_series_exists_before_the_first_request_and_no_request_makes_another() -> None:
    with live_app(fake_model(), fake_model(options=Options(name="other"))) as live:
        states = [(field, state) for field in PATHS for state in ("known", "missing", "unknown")]
        for model in ("tiny", "other"):
            assert {live.series(NAME, model=model, version="1", field=f, state=s) for f, s in states} == {0}
        live.post(request(8, model="tiny"))
        assert live.series(NAME, model="tiny", version="1", field="scores.relevance", state="missing") == 8
        assert live.series(NAME, model="other", version="1", field="scores.relevance", state="missing") == 0
        assert len(shown(live.metrics.registry)) == len(states)


def test_the_three_states_add_up_to_the_values_that_were_looked_at() -> None:
    with live_app(fake_model()) as live:
        for _ in range(3):
            live.post(request(7))
        found = shown(live.metrics.registry)
        for field in PATHS:
            total = sum(found[field, state] for state in ("known", "missing", "unknown"))
            assert total == (3 if field.startswith(("user", "context")) else 21)


def test_a_refused_request_is_not_counted() -> None:
    with live_app(fake_model()) as live:
        live.post(request(candidates=[{"id": "a", "scores": {"ctr": 0.1, "cvr": 0.1}, "features": {"stars": "five"}}]))
        assert set(shown(live.metrics.registry).values()) == {0}


def test_series_end_with_their_version() -> None:
    now = 0.0
    series = VersionSeries(FieldSeries, clock=lambda: now)
    registry = CollectorRegistry()
    registry.register(series)
    for version in "12":
        series.publish("m", version)
        series.of("m", version).declare(("a",))
    series.of("m", "1").add(made(a=(1, 2, 3)))
    series.retire("m", "1")
    assert shown(registry) == {("a", "known"): 1, ("a", "missing"): 2, ("a", "unknown"): 3}
    now += LASTING_SECONDS
    series.sweep()
    assert shown(registry) == {}
    assert set(shown(registry, "2").values()) == {0}


def test_a_version_that_is_published_with_other_fields_goes_on_with_the_old_ones() -> None:
    series = FieldSeries()
    series.begin("m", "1")
    series.declare(("a", "b"))
    series.add(made(a=(1, 0, 0), b=(0, 1, 0)))
    series.declare(("b", "c"))
    series.add(made(c=(0, 0, 5), b=(1, 0, 0)))
    (metric,) = series.collect()
    found = {(s.labels["field"], s.labels["state"]): s.value for s in metric.samples}
    assert {key: value for key, value in found.items() if value} == {
        ("a", "known"): 1,
        ("b", "missing"): 1,
        ("b", "known"): 1,
        ("c", "unknown"): 5,
    }


def test_several_workers_are_summed_and_one_that_ends_keeps_its_counts() -> None:
    totals = Totals()
    for worker in range(2):
        series = VersionSeries(FieldSeries)
        registry = CollectorRegistry()
        registry.register(series)
        series.publish("m", "1")
        series.of("m", "1").add(made(a=(1, 10 * (worker + 1), 0)))
        totals.update(worker, *SnapshotReader(registry, {}).read())
    totals.end(0)
    assert shown(totals.view()) == {("a", "known"): 2, ("a", "missing"): 30, ("a", "unknown"): 0}


@pytest.mark.parametrize("encode", [generate_latest, OPENMETRICS.encode])
def test_both_formats_can_write_it(encode: object) -> None:
    registry = CollectorRegistry()
    series = VersionSeries(FieldSeries)
    registry.register(series)
    series.publish("m", "1")
    series.of("m", "1").add(made(**{'item."odd"\n': (1, 0, 0)}))
    assert callable(encode)
    assert 'field="item.\\"odd\\"\\n"' in encode(registry).decode()
