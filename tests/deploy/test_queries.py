"""Queries of the dashboard, and what alerts and runbook select, asked of a real Prometheus.

It has scraped a service with requests of all kinds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import start_http_server

from deploy.alerts.files import ALERTS, GROUPS
from service.scenes.scene import Scene
from tests.deploy.files import dashboard_expressions, matched_values, metrics_in, runbook_queries, supervisor_metrics
from tests.deploy.prometheus_server import Prometheus, needs_prometheus, scraping
from tests.service.catalogued import catalogued, known
from tests.service.live import Live, fake_model
from tests.service.requests import request
from tests.service.tiny_bundle import Options

pytestmark = [needs_prometheus, pytest.mark.long]

ABSENT = {
    'count by (model, version) (rerank_bundle_refused{namespace=~".*", job=~".*"})': "no bundle is refused",
}
"""Queries that have nothing to show where all is well."""

NO_NUMBER = ("rerank_catalogue_live_exchange", "rerank_batch_duration")
"""Metrics whose quantiles are no number, since nothing of the kind has happened."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped a service before and after some requests, and a supervisor beside it."""
    supervisor, thread = start_http_server(0, "127.0.0.1", supervisor_metrics(2).registry)
    models = (fake_model(), fake_model(options=Options(name="next")))
    always: dict[str, Any] = {"default_model": "tiny", "shadow": "next", "shadow_share": 1.0}
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(supervisor.server_close)
        stack.callback(supervisor.shutdown)
        live = stack.enter_context(catalogued(*models, **always))
        live.scenes.swap({"home": Scene(name="home")})
        folder = tmp_path_factory.mktemp("prometheus")
        ports = (live.port, supervisor.server_port)
        server = stack.enter_context(scraping(folder, ports, seconds=2))
        count = 'rerank_slo_valid_total{objective="latency"}'
        server.until(lambda: server.values(count) == [0])
        ask(live)
        asked = live.series("rerank_slo_valid_total", objective="latency")
        assert asked
        # Two more scrapes, so that the rates of all have come to rest.
        server.until(lambda: server.values(f"min_over_time({count}[4s])") == [asked])
        yield server


def ask(live: Live) -> None:
    """Requests with candidates that the catalogue knows, with a scene, of no use, and of a model that is not there."""
    for _ in range(5):
        assert live.post(known()).status == 200
        assert live.post(request(scene="home")).status == 200
    live.post(b"{")
    live.post(request(model="none"))


@pytest.mark.parametrize(
    ("title", "expression"),
    [pytest.param(*each, id=f"{i}-{each[0]}") for i, each in enumerate(dashboard_expressions())],
)
def test_it_is_answered_with_data(prometheus: Prometheus, title: str, expression: str) -> None:
    values = prometheus.values(expression)
    if expression in ABSENT:
        assert values == []
        return
    assert values, f"{title}: no series"
    if not any(metric in expression for metric in NO_NUMBER):
        assert not all(map(math.isnan, values)), f"{title}: no number"


def test_the_figures_are_those_of_the_requests(prometheus: Prometheus) -> None:
    expressions = dict(dashboard_expressions())
    assert prometheus.values(expressions["In time, last hour"]) == [1]
    assert prometheus.values(expressions["By the model, last hour"]) == [1]
    assert prometheus.values("sum(rerank_workers_wanted)") == [3], "one process, and a supervisor of two"
    (age,) = prometheus.values(expressions["Catalogue: age"])
    assert age > 0
    assert 0 < prometheus.values(expressions["Open files, share of the limit"])[0] < 1


def test_every_series_of_the_alerts_is_there(prometheus: Prometheus) -> None:
    names = set(prometheus.get("label/__name__/values"))
    for alert in ALERTS:
        assert metrics_in(alert.expr) <= names | {"rerank_bundle_refused"}, alert.name


def test_every_label_and_value_that_is_selected_is_there(prometheus: Prometheus) -> None:
    expressions = (*(rule.expr for group in GROUPS for rule in group.rules), *runbook_queries())
    matched = {
        each
        for expression in (*expressions, *dict(dashboard_expressions()).values())
        for each in matched_values(expression)
    }
    assert len(matched) > 15
    for metric, label, value in sorted(matched):
        assert value in prometheus.get(f"label/{label}/values", **{"match[]": metric}), (metric, label, value)


def test_a_query_that_is_wrong_is_a_failure(prometheus: Prometheus, tmp_path: Path) -> None:
    assert tmp_path.exists()
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.values("rate(rerank_candidates_sum)[")
