"""Series of a version end five minutes after its last request, whole, and no earlier."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry import versions
from service.telemetry.records import ShadowRecord
from service.telemetry.versions import LASTING_SECONDS, RequestSeries, ShadowSeries, VersionSeries
from tests.service.live import Live, fake_model, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import Options

COUNT = "rerank_request_duration_seconds_count"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """Series of versions on a clock of their own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.series = VersionSeries(lambda: RequestSeries([0.019]), clock=self.clock)
        self.registry = CollectorRegistry()
        self.registry.register(self.series)

    def observe(self, version: str) -> None:
        self.series.of("m", version).outcomes["ok"].observe(0.01)

    def count(self, version: str) -> float | None:
        """What a scrape shows; None: nothing."""
        self.series.sweep()
        return self.registry.get_sample_value(COUNT, {"model": "m", "version": version, "outcome": "ok"})


def test_a_retired_version_is_shown_until_five_minutes_after_its_last_record() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.observe("1")
    service.clock.now += 10 * LASTING_SECONDS
    assert service.count("1") == 1, "a live version never ends"
    service.series.retire("m", "1")
    service.series.publish("m", "2")
    service.clock.now += LASTING_SECONDS - 1
    assert service.count("1") == 1
    service.observe("1")
    service.clock.now += LASTING_SECONDS - 1
    assert service.count("1") == 2, "the last record counts, not the retirement"
    service.clock.now += 1
    assert service.count("1") is None
    assert service.count("2") == 0, "its counts are not added to others"
    assert 'version="1"' not in generate_latest(service.registry).decode()


def test_without_a_record_the_time_counts_from_the_retirement() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.clock.now += 1_000
    service.series.retire("m", "1")
    service.clock.now += LASTING_SECONDS - 1
    assert service.count("1") == 0
    service.clock.now += 1
    assert service.count("1") is None


def test_a_version_that_goes_live_again_in_time_goes_on() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.observe("1")
    service.series.retire("m", "1")
    service.clock.now += LASTING_SECONDS - 1
    service.series.publish("m", "1")
    service.observe("1")
    service.clock.now += 10 * LASTING_SECONDS
    assert service.count("1") == 2


def test_a_version_that_goes_live_again_later_begins_anew() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.observe("1")
    service.series.retire("m", "1")
    service.clock.now += LASTING_SECONDS
    assert service.count("1") is None
    service.series.publish("m", "1")
    assert service.count("1") == 0


def test_a_version_published_over_itself_goes_on() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.observe("1")
    service.series.retire("m", "1")  # A registry retires the replaced model first, then publishes its successor.
    service.series.publish("m", "1")
    assert service.count("1") == 1


def test_a_record_after_the_end_is_counted_and_ends_again() -> None:
    service = Service()
    service.series.publish("m", "1")
    service.series.retire("m", "1")
    service.clock.now += LASTING_SECONDS
    assert service.count("1") is None
    service.observe("1")
    service.clock.now += LASTING_SECONDS - 1
    assert service.count("1") == 1
    service.clock.now += 1
    assert service.count("1") is None


def test_a_hundred_reloads_leave_the_series_of_one_version() -> None:
    service = Service()
    sizes = []
    for version in range(100):
        service.series.publish("m", str(version))
        service.observe(str(version))
        if version:
            service.series.retire("m", str(version - 1))
        service.clock.now += LASTING_SECONDS
        service.series.sweep()
        sizes.append(len(generate_latest(service.registry)))
    assert max(sizes) - min(sizes) < 500


def test_a_pinned_version_never_ends() -> None:
    clock = Clock()
    series = VersionSeries(ShadowSeries, clock=clock)
    registry = CollectorRegistry()
    registry.register(series)
    series.pin("next", "2").missing("next", "2")
    labels = {"model": "next", "version": "2", "outcome": "unknown"}
    series.of("next", "2").observe(ShadowRecord("next", "2", "unknown"))
    series.publish("next", "2")
    series.retire("next", "2")
    clock.now += 2 * LASTING_SECONDS
    series.sweep()
    assert registry.get_sample_value("rerank_shadow_total", labels) == 1


def versions_shown(live: Live) -> set[str]:
    text = live.get("/metrics").body.decode()
    return {
        sample.labels["version"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "version" in sample.labels and family.name.startswith("rerank_")
    }


def test_a_reload_ends_all_series_of_the_version_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LASTING_SECONDS", 3600)
    with live_app(fake_model(), shadow="tiny", shadow_share=1.0) as live:
        live.post(request())
        live.registry.publish(fake_model(options=Options(version="2")))
        assert versions_shown(live) == {"none", "1", "2"}
        monkeypatch.setattr(versions, "LASTING_SECONDS", 0)
        live.registry.publish(fake_model(options=Options(version="3")))
        assert versions_shown(live) == {"none", "1", "3"}
