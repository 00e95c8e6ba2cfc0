"""A jump of the wall clock changes no measure and ends no series."""

from __future__ import annotations

import time

import pytest

from tests.service.live import fake_model, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import Options

DAYS = 86_400.0


@pytest.mark.parametrize("jump", [400 * DAYS, -400 * DAYS])
def test_a_jump_of_the_wall_clock_changes_no_measure(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = time.time
    with live_app(fake_model()) as live:
        live.post(request())
        live.registry.publish(fake_model(options=Options(version="2")))
        monkeypatch.setattr(time, "time", lambda: wall() + jump)
        live.post(request())
        slo = live.get("/v1/slo").json
        assert slo["requests"] == 2
        assert 0 < slo["p99_seconds"] < slo["budget_seconds"]
        assert [objective["current"] for objective in slo["objectives"]] == [1.0, 1.0]
        for version in ("1", "2"):
            labels = {"model": "tiny", "version": version, "outcome": "ok"}
            assert live.series("rerank_request_duration_seconds_count", **labels) == 1
