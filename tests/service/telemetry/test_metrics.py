"""The metrics are a contract: names, label sets, the 19 ms edge, and what is counted where."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.exposition import SharedExposition
from service.telemetry.merging import Totals
from service.telemetry.metrics import Metrics
from service.telemetry.records import mean_distance
from service.telemetry.scrape import choose_format
from service.telemetry.snapshots import SnapshotReader
from tests.service.live import Live, fake_model, live_app
from tests.service.requests import request
from tests.service.telemetry.test_merging import never, nobody

DURATION = "rerank_request_duration_seconds"


def scrape(live: Live) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    text = live.get("/metrics").body.decode()
    return {
        family.name: {tuple(sorted(s.labels.items())) for s in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_every_series_exists_before_the_first_request() -> None:
    with live_app(fake_model()) as live:
        before = scrape(live)
        live.post(request(20, top_n=8))
        live.post(b"{")
        live.post(request(top_n=0))
        live.post(request(model="nope"))
        after = scrape(live)
    assert after == before


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_one_process_and_several_show_the_same_names_and_no_times_of_creation(server: Live, accept: str) -> None:
    worker = SharedExposition(never, nobody)
    Metrics(budget_seconds=0.019, exposition=worker).model_loaded(fake_model())
    totals = Totals()
    totals.update(1, *SnapshotReader(worker.registry, worker.modes).read())
    several = choose_format(accept).encode(totals.view()).decode()
    alone = server.get("/metrics", {"Accept": accept}).body.decode()
    names = [set(re.findall(r"^(rerank_\w+)[{ ]", text, re.MULTILINE)) for text in (alone, several)]
    assert not [name for name in names[0] | names[1] if name.endswith("_created")]
    assert names[0] - names[1] == {"rerank_workers_live", "rerank_workers_wanted"}  # The supervisor shows these.
    assert names[1] <= names[0]


def test_the_names_of_the_contract_are_there(server: Live) -> None:
    names = set(scrape(server))
    assert names >= {
        DURATION,
        "rerank_stage_duration_seconds",
        "rerank_degraded",
        "rerank_rejected",
        "rerank_in_flight",
        "rerank_queue_depth",
        "rerank_batch_size",
        "rerank_candidates",
        "rerank_latency_budget_seconds",
        "rerank_latency_p99_seconds",
        "rerank_ready",
        "rerank_files_refused",
        "rerank_model_info",
        "rerank_list_diversity",
        "rerank_list_displacement",
        "rerank_list_queue_items",
        "rerank_list_items",
        "rerank_list_choice",
    }


def test_there_is_a_bucket_edge_exactly_at_the_budget() -> None:
    with live_app(fake_model(), budget_ms=19) as live:
        assert live.series(f"{DURATION}_bucket", model="tiny", version="1", outcome="ok", le="0.019") == 0
        assert live.series("rerank_latency_budget_seconds") == 0.019
    with live_app(fake_model(), budget_ms=30) as live:
        for edge in ("0.019", "0.03"):
            assert live.series(f"{DURATION}_bucket", model="tiny", version="1", outcome="ok", le=edge) == 0


def test_a_request_is_counted_once_in_every_metric() -> None:
    with live_app(fake_model()) as live:
        live.post(request(12, top_n=7))
        assert live.series(f"{DURATION}_count", model="tiny", version="1", outcome="ok") == 1
        for stage in ("decode", "deal", "encode", "wait", "infer", "respond"):
            assert live.series("rerank_stage_duration_seconds_count", stage=stage) == 1
        assert live.series("rerank_candidates_sum") == 12
        assert live.series("rerank_batch_size_sum") == 1
        assert live.series("rerank_list_choice_total", choice="plan") == 1
        assert live.series("rerank_list_items_total", source="model") == 5
        assert live.series("rerank_list_items_total", source="formula") == 2
        assert sum(live.series("rerank_list_queue_items_total", queue=str(q)) or 0 for q in range(3)) == 5
        assert live.series("rerank_list_diversity_count") == 1
        assert live.series("rerank_list_displacement_count") == 1


def test_displacement_is_the_mean_number_of_places_moved() -> None:
    with live_app(fake_model()) as live:
        sent = request(3, queues=[{"name": "q", "score": "ctr"}])
        for place, ctr in enumerate([0.1, 0.2, 0.3]):
            sent["candidates"][place]["scores"]["ctr"] = ctr
        live.post(sent)
        assert live.series("rerank_list_displacement_sum") == pytest.approx(4 / 3)


def test_refused_requests_do_not_touch_the_p99_of_valid_ones() -> None:
    with live_app(fake_model()) as live:
        live.post(b"{")
        assert math.isnan(live.series("rerank_latency_p99_seconds") or 0)
        live.post(request())
        p99 = live.series("rerank_latency_p99_seconds")
        assert p99 is not None
        assert 0 < p99 < 10


def test_mean_distance_is_one_minus_the_mean_cosine_over_pairs() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(7, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [rows[i] @ rows[j] for i in range(7) for j in range(i)]
    with_gaps = np.concatenate([rows[:3], np.zeros((2, 5)), rows[3:]])
    assert mean_distance(with_gaps) == pytest.approx(1 - np.mean(pairs))
    assert mean_distance(rows[:1]) is None
    assert mean_distance(np.zeros((4, 5))) is None


def test_two_apps_in_one_process_do_not_share_metrics() -> None:
    first, second = Metrics(budget_seconds=0.019), Metrics(budget_seconds=0.019)
    assert first.registry is not second.registry
