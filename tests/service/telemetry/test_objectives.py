"""The objectives: counted against the configured budget, over 1, 5 and 30 minutes, of one process or of several."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from service.telemetry import rolling
from service.telemetry.metrics import Metrics
from service.telemetry.rolling import WINDOWS, RollingCounts, WindowCounts
from tests.service.live import FakeEngine, Live, fake_model, live_app
from tests.service.requests import request

BUDGET = 0.019


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(rolling, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def counted(live: Live, objective: str) -> tuple[float | None, float | None]:
    """Good and valid ones."""
    names = ("rerank_slo_good_total", "rerank_slo_valid_total")
    good, valid = (live.series(name, objective=objective) for name in names)
    return good, valid


def test_they_are_counted_against_the_budget_that_is_configured() -> None:
    with live_app(fake_model(), budget_ms=60_000) as live:
        assert counted(live, "latency") == counted(live, "model") == (0, 0)
        live.post(request())
        live.post(b"{")
        assert counted(live, "latency") == counted(live, "model") == (1, 1)
        assert live.series("rerank_slo_target", objective="latency") == 0.99
    with live_app(fake_model(), budget_ms=0.001, deadline_mode="observe") as live:
        live.post(request())
        assert counted(live, "latency") == (0, 1), "no list comes within a microsecond"
        assert counted(live, "model") == (1, 1)


def test_a_degraded_list_is_good_for_one_and_a_refusal_for_none() -> None:
    engine = FakeEngine()
    with live_app(fake_model(engine), budget_ms=60_000) as live:
        engine.error = RuntimeError("broken")
        live.post(request())
        assert counted(live, "latency") == (1, 1)
        assert counted(live, "model") == (0, 1)
        live.metrics.refused("overloaded", 0.0001)
        assert counted(live, "latency") == (1, 2)
        assert counted(live, "model") == (0, 1)


def test_the_slo_page_says_where_the_objectives_stand() -> None:
    with live_app(fake_model(), budget_ms=60_000) as live:
        empty = live.get("/v1/slo").json
        assert (empty["requests"], empty["p99_seconds"], empty["objectives"][0]["current"]) == (0, None, None)
        live.post(request())
        slo = live.get("/v1/slo").json
        assert (slo["budget_seconds"], slo["window_seconds"], slo["requests"]) == (60, 60, 1)
        assert {o["name"]: (o["target"], o["current"]) for o in slo["objectives"]} == {
            "latency": (0.99, 1.0),
            "model": (0.99, 1.0),
        }
        assert (slo["workers"], slo["complete"]) == (1, True)
        assert [window["seconds"] for window in slo["windows"]] == [60, 300, 1800]
        for window in slo["windows"]:
            assert window["requests"] == 1
            assert window["p99_seconds"] == slo["p99_seconds"]
            names = [(o["name"], o["good"], o["valid"], o["current"]) for o in window["objectives"]]
            assert names == [("latency", 1, 1, 1.0), ("model", 1, 1, 1.0)]


def test_a_fast_refusal_is_not_a_good_answer() -> None:
    counts = RollingCounts(BUDGET)
    counts.add(0.001, answered=False, degraded=False)
    counts.add(0.001, answered=True, degraded=True)
    counts.add(0.5, answered=True, degraded=False)
    counts.add(0.6, answered=True, degraded=True)
    found = counts.window(60)
    assert counts.totals() == (4, 1, 3, 1)
    assert (found.valid, found.in_time, found.lists, found.own) == counts.totals()


def test_each_window_forgets_what_is_older(clock: Clock) -> None:
    counts = RollingCounts(BUDGET)
    counts.add(5.0, answered=True, degraded=False)
    for seconds in WINDOWS:
        clock.now = 1000.0 + seconds - 1
        counts.add(1.0, answered=True, degraded=False)
        assert counts.window(seconds).quantile(1, BUDGET) == pytest.approx(5, rel=0.02)
        clock.now += 2
        assert counts.window(seconds).quantile(1, BUDGET) == pytest.approx(1, rel=0.02)
    clock.now += 10**6
    assert [window.valid for window in counts.windows()] == [0, 0, 0]
    assert counts.totals()[0] == 4, "those since the start never end"


def test_a_request_that_ended_a_while_ago_is_counted_then(clock: Clock) -> None:
    counts = RollingCounts(BUDGET)
    for ago in (1.0, 100.0, 1000.0, 1802.0, 10_000.0):
        counts.add(0.001, answered=False, degraded=False, ended=clock.now - ago)
    assert [window.valid for window in counts.windows()] == [1, 2, 3]
    assert counts.totals()[0] == 5


def test_every_request_of_half_an_hour_is_counted_and_quantiles_are_within_2_percent(clock: Clock) -> None:
    rng = np.random.default_rng(7)
    counts, each = RollingCounts(BUDGET), 60
    drawn = np.exp(rng.normal(math.log(0.008), 0.7, (2000, each)))
    for second in drawn:
        clock.now += 1
        for duration in second.tolist():
            counts.add(duration, answered=True, degraded=duration > 0.02)
    for seconds, found in zip(WINDOWS, counts.windows(), strict=True):
        inside = drawn[-seconds - 1 :]  # The second that goes on, too.
        assert found.valid == inside.size
        assert found.in_time == (inside <= BUDGET).sum()
        assert found.own == (inside <= 0.02).sum()
        for q in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0):
            exact = np.quantile(inside, q, method="higher")
            assert found.quantile(q, BUDGET) == pytest.approx(exact, rel=0.02)
            assert (found.quantile(q, BUDGET) > BUDGET) == (exact > BUDGET), "it is on the same side of the budget"
    assert len(found.ranges) < 500


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e-5, BUDGET, 999.0, 1e3, 1e9, math.inf])
@pytest.mark.parametrize("budget", [0.000001, BUDGET, 60.0, 3600.0])
def test_any_duration_is_counted(seconds: float, budget: float) -> None:
    counts = RollingCounts(budget)
    counts.add(seconds, answered=True, degraded=False)
    found = counts.window(60)
    assert (found.valid, found.in_time) == (1, int(seconds <= budget))
    assert found.quantile(0.99, budget) == pytest.approx(min(max(seconds, 1e-5), 1e3), rel=0.021)


def test_windows_of_several_workers_add_up_after_they_have_been_sent(clock: Clock) -> None:
    rng = np.random.default_rng(3)
    workers, together = [RollingCounts(BUDGET) for _ in range(3)], RollingCounts(BUDGET)
    for duration in rng.exponential(0.01, 3000).tolist():
        clock.now += 0.5
        for counts in (workers[int(rng.integers(3))], together):
            counts.add(duration, answered=duration < 0.05, degraded=False)
    sent = [msgspec.json.decode(msgspec.json.encode(w.windows()), type=tuple[WindowCounts, ...]) for w in workers]
    merged = tuple(WindowCounts.merge(parts) for parts in zip(*sent, strict=True))
    assert merged == together.windows()


def test_the_objectives_of_two_processes_are_summed_as_counters() -> None:
    metrics = Metrics(budget_seconds=BUDGET)
    kinds = {metric.name: metric.type for metric in metrics.registry.collect()}
    assert kinds["rerank_slo_good"] == kinds["rerank_slo_valid"] == "counter"
