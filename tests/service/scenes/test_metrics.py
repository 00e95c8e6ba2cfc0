"""Requests are counted by scene, in a closed set of labels: the live scenes and none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from service.bundles.model import Model
from service.scenes.reading import parse_scenes
from service.scenes.scene import NO_SCENE
from service.telemetry import versions
from service.telemetry.merging import Totals
from service.telemetry.records import OUTCOMES, RequestOutcome, RequestRecord
from service.telemetry.scenes import SceneMetrics
from service.telemetry.snapshots import SnapshotReader
from service.telemetry.versions import LASTING_SECONDS, SCENE
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import Live, live_app
from tests.service.requests import request

NAMES = ("rerank_scene_requests", "rerank_scene_duration_seconds", "rerank_ignored_pins")


def record(scene: str = NO_SCENE, outcome: RequestOutcome = "ok", ignored_pins: int = 0) -> RequestRecord:
    return RequestRecord(
        request_id="r",
        trace_id=None,
        outcome=outcome,
        status=200,
        seconds=0.003,
        reason=None,
        model="m",
        version="1",
        stages={},
        candidates=1,
        batch_size=1,
        health=None,
        scene=scene,
        ignored_pins=ignored_pins,
    )


def shown(registry: CollectorRegistry) -> set[str]:
    """Scenes that have series."""
    return {
        sample.labels["scene"] for metric in registry.collect() if metric.name in NAMES for sample in metric.samples
    }


@pytest.fixture
def live(tiny_model: Model) -> Iterator[Live]:
    with live_app(tiny_model) as found:
        found.scenes.swap(parse_scenes(b"[scenes.home]\ntop_n = 2\n[scenes.shop]\ntimeout_ms = 20000\n"))
        yield found


def test_series_exist_from_the_start_of_a_scene(live: Live) -> None:
    for scene in ("none", "home", "shop"):
        for outcome in OUTCOMES:
            assert live.series("rerank_scene_requests_total", scene=scene, outcome=outcome) == 0
        assert live.series("rerank_scene_duration_seconds_count", scene=scene) == 0
        assert live.series("rerank_ignored_pins_total", scene=scene) == 0
    assert shown(live.metrics.registry) == {"none", "home", "shop"}


def test_each_request_counts_once_under_its_scene(live: Live) -> None:
    assert len(live.post(request(scene="home")).json["items"]) == 2
    assert len(live.post(request(scene="home", top_n=3)).json["items"]) == 3
    assert live.post(request()).status == 200
    assert live.post(request(scene="home", top_n=0)).status == 422
    assert live.post(request(scene="home", model="absent")).status == 422
    counts = {
        (scene, outcome): live.series("rerank_scene_requests_total", scene=scene, outcome=outcome)
        for scene in ("none", "home", "shop")
        for outcome in ("ok", "invalid")
    }
    assert counts == {
        ("none", "ok"): 1,
        ("none", "invalid"): 1,  # It ended before its scene was known.
        ("home", "ok"): 2,
        ("home", "invalid"): 1,
        ("shop", "ok"): 0,
        ("shop", "invalid"): 0,
    }
    assert live.series("rerank_scene_duration_seconds_count", scene="home") == 2


def test_a_scene_that_does_not_exist_is_refused_and_gets_no_label(live: Live) -> None:
    reply = live.post(request(scene="x" * 64))
    assert_problem(reply, 422, "invalid-request", "scene", "there is: home, shop")
    assert shown(live.metrics.registry) == {"none", "home", "shop"}
    assert live.series("rerank_scene_requests_total", scene="none", outcome="invalid") == 1


def test_of_many_scenes_a_refusal_names_a_few(live: Live) -> None:
    live.scenes.swap(parse_scenes("".join(f"[scenes.s{i:02}]\n" for i in range(64)).encode()))
    reply = live.post(request(scene="home"))
    assert_problem(reply, 422, "invalid-request", "scene", "s00, s01")
    assert reply.json["detail"].endswith("s09, and 54 more")
    live.scenes.swap({})
    assert_problem(live.post(request(scene="home")), 422, "invalid-request", "scene", "there are none")


def test_while_scenes_are_loaded_a_request_that_names_one_may_come_again(tiny_model: Model) -> None:
    with live_app(tiny_model, ready=False) as live:
        assert_problem(live.post(request(scene="home")), 503, "not-ready", text="scenes are being loaded")
        assert live.post(request()).status == 200
        live.scenes.fail("scenes.home: is wrong")
        assert_problem(live.post(request(scene="home")), 503, "not-ready", text="scenes.home: is wrong")


def test_the_model_and_the_time_of_a_scene_are_those_of_its_requests(live: Live) -> None:
    live.scenes.swap(parse_scenes(b"[scenes.a]\nmodel = 'absent'\n[scenes.b]\ntimeout_ms = 0.000001\n"))
    assert_problem(live.post(request(scene="a")), 422, "invalid-request", "model")
    assert live.post(request(scene="a", model="tiny")).status == 200
    assert live.post(request(scene="b")).json["degraded"] is not None
    assert live.post(request(scene="b", timeout_ms=20_000)).json["degraded"] is None


def test_ignored_pins_are_counted_by_scene(live: Live) -> None:
    live.metrics.observe(record("home", ignored_pins=3))
    assert live.series("rerank_ignored_pins_total", scene="home") == 3
    assert live.series("rerank_ignored_pins_total", scene="none") == 0


def test_the_series_of_a_scene_that_is_gone_end_and_those_of_the_others_go_on(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.post(request(scene="shop"))
    live.scenes.swap(parse_scenes(b"[scenes.shop]\n[scenes.new]\n"))
    live.metrics.refresh()
    assert shown(live.metrics.registry) == {"none", "home", "shop", "new"}
    monkeypatch.setattr(versions, "LASTING_SECONDS", 0.0)
    live.scenes.swap(parse_scenes(b"[scenes.shop]\n"))
    live.metrics.refresh()
    assert shown(live.metrics.registry) == {"none", "home", "shop"}
    assert live.series("rerank_scene_requests_total", scene="shop", outcome="ok") == 1


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_counts_of_several_workers_add_up_and_a_scene_that_is_gone_ends() -> None:
    clock = Clock()
    totals = Totals(clock)
    for worker in (1, 2):
        registry = CollectorRegistry()
        metrics = SceneMetrics(registry, (0.01, 1.0))
        metrics.swapped(["home"])
        metrics.observe(record("home", ignored_pins=1))
        totals.update(worker, *SnapshotReader(registry, {}).read())
    home = {"scene": "home", "outcome": "ok"}
    assert totals.view().get_sample_value("rerank_scene_requests_total", home) == 2
    assert totals.view().get_sample_value("rerank_ignored_pins_total", {"scene": "home"}) == 2
    for worker in (1, 2):
        totals.end(worker)
    registry = CollectorRegistry()
    SceneMetrics(registry, (0.01, 1.0)).swapped(["new"])
    totals.update(3, *SnapshotReader(registry, {}).read())
    clock.now += LASTING_SECONDS + 1
    live = [(SCENE, "home")]
    assert totals.view(live).get_sample_value("rerank_scene_requests_total", home) == 2
    assert totals.view().get_sample_value("rerank_scene_requests_total", home) is None
    assert shown(totals.view()) == {"none", "new"}
