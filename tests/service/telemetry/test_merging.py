"""Merged metrics: sums that never fall, gauges by their mode, and the end of what no version serves any more."""

from __future__ import annotations

import functools
import math
import operator
import random
from collections.abc import Callable
from typing import NoReturn

import pytest
from msgspec import json
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.telemetry.exposition import SharedExposition, set_up_client_library
from service.telemetry.merging import Totals
from service.telemetry.metrics import Metrics
from service.telemetry.snapshots import Layout, MergeMode, SnapshotReader, Values
from service.telemetry.versions import LASTING_SECONDS, RequestSeries, VersionSeries
from tests.service.live import fake_model

MODES: dict[str, MergeMode] = {"depth": "livesum", "standing": "livemax", "budget": "max"}


class Worker:
    """The metrics of one process."""

    def __init__(self) -> None:
        set_up_client_library()
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "R.", ("model", "version"), registry=self.registry)
        self.seconds = Histogram("seconds", "S.", ("stage",), buckets=(0.1, 1), registry=self.registry)
        self.depth = Gauge("depth", "D.", registry=self.registry)
        self.standing = Gauge("standing", "O.", registry=self.registry)
        self.budget = Gauge("budget", "B.", registry=self.registry)
        self.snapshots = SnapshotReader(self.registry, MODES)

    def snapshot(self) -> tuple[Layout, Values]:
        """A snapshot that has gone through the channel."""
        return json.decode(json.encode(self.snapshots.read()), type=tuple[Layout, Values])


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def never(accept: str) -> NoReturn:
    raise AssertionError(accept)


async def nobody() -> NoReturn:
    raise AssertionError


def reader(totals: Totals, *live: tuple[str, str]) -> Callable[..., float | None]:
    return lambda name, **labels: totals.view(live).get_sample_value(name, labels)


def test_counts_are_summed_and_gauges_merged_by_mode() -> None:
    totals, workers = Totals(), [Worker(), Worker()]
    for n, worker in enumerate(workers, 1):
        worker.requests.labels("m", "1").inc(n)
        worker.seconds.labels("infer").observe(0.5 * n)
        worker.depth.set(n)
        worker.standing.set(n == 1)
        worker.budget.set(30)
        totals.update(n, *worker.snapshot())
    read = reader(totals)
    assert read("requests_total", model="m", version="1") == 3
    edges = {le: read("seconds_bucket", stage="infer", le=le) for le in ("0.1", "1.0", "+Inf")}
    assert edges == {"0.1": 0, "1.0": 2, "+Inf": 2}
    assert (read("seconds_sum", stage="infer"), read("seconds_count", stage="infer")) == (1.5, 2)
    assert (read("depth"), read("standing"), read("budget")) == (3, 1, 30)
    text = generate_latest(totals.view()).decode()
    assert "# TYPE seconds histogram" in text
    assert "# HELP requests_total R." in text


def test_without_a_layout_the_values_are_in_that_of_the_last_snapshot() -> None:
    totals, worker = Totals(), Worker()
    totals.update(1, *worker.snapshot())
    worker.depth.set(7)
    _, values = worker.snapshot()
    totals.update(1, None, values)
    assert reader(totals)("depth") == 7
    with pytest.raises(ValueError, match="describes"):
        totals.update(1, None, values[1:])


def test_the_layout_is_new_only_if_a_series_is() -> None:
    worker = Worker()
    first, _ = worker.snapshots.read()
    worker.depth.set(1)
    second, values = worker.snapshots.read()
    assert second is first
    assert 1 in values
    worker.requests.labels("m", "1")
    third, _ = worker.snapshots.read()
    assert third is not first
    assert worker.snapshots.read()[0] is third


def test_a_value_that_is_nan_does_not_count_and_all_nan_is_shown() -> None:
    totals, workers = Totals(), [Worker(), Worker()]
    for n, worker in enumerate(workers):
        worker.standing.set(math.nan)
        totals.update(n, *worker.snapshot())
    shown = reader(totals)("standing")
    assert shown is not None
    assert math.isnan(shown)
    workers[1].standing.set(0.2)
    totals.update(1, *workers[1].snapshot())
    assert reader(totals)("standing") == 0.2


def test_what_an_ended_worker_counted_stays_and_its_gauges_go() -> None:
    totals, worker = Totals(), Worker()
    worker.requests.labels("m", "1").inc(5)
    worker.depth.set(3)
    worker.budget.set(30)
    totals.update("a", *worker.snapshot())
    totals.end("a")
    read = reader(totals)
    assert read("requests_total", model="m", version="1") == 5
    assert (read("depth"), read("budget")) == (None, 30)
    totals.update("b", *Worker().snapshot())
    assert read("requests_total", model="m", version="1") == 5
    assert read("depth") == 0
    totals.end("one that never said anything")


def test_no_sum_ever_falls_whatever_order_workers_end_in() -> None:
    """A total that falls by its last digit is a restart to Prometheus."""
    dice = random.Random(7)
    totals, workers, before = Totals(), {n: Worker() for n in range(4)}, 0.0
    for turn in range(400):
        place = dice.randrange(4)
        if turn % 2:
            totals.end(workers[place])
            workers[place] = Worker()
        else:
            workers[place].seconds.labels("infer").observe(dice.random() / 3)
            totals.update(workers[place], *workers[place].snapshot())
        total = reader(totals)("seconds_sum", stage="infer") or 0.0
        assert total >= before
        before = total


def test_a_series_that_one_worker_ends_or_begins_anew_does_not_make_the_sum_fall() -> None:
    totals, workers = Totals(), [Worker(), Worker()]
    for n, worker in enumerate(workers):
        worker.requests.labels("m", "1").inc(10)
        totals.update(n, *worker.snapshot())
    workers[0].requests.remove("m", "1")
    totals.update(0, *workers[0].snapshot())
    read = reader(totals)
    assert read("requests_total", model="m", version="1") == 20
    workers[0].requests.labels("m", "1").inc(2)
    totals.update(0, *workers[0].snapshot())
    assert read("requests_total", model="m", version="1") == 22
    workers[1].requests.remove("m", "1")
    workers[1].requests.labels("m", "1").inc(3)  # Ended and begun between two snapshots.
    totals.update(1, *workers[1].snapshot())
    assert read("requests_total", model="m", version="1") == 25


def test_a_version_that_nobody_shows_ends_five_minutes_after_its_last_request() -> None:
    clock = Clock()
    totals, ended, other = Totals(clock), Worker(), Worker()
    ended.requests.labels("m", "1").inc()
    totals.update("ended", *ended.snapshot())
    totals.end("ended")
    totals.update("other", *other.snapshot())
    clock.now += LASTING_SECONDS - 1
    assert reader(totals)("requests_total", model="m", version="1") == 1
    clock.now += 1
    assert reader(totals, ("m", "1"))("requests_total", model="m", version="1") == 1
    assert reader(totals)("requests_total", model="m", version="1") is None
    assert reader(totals)("depth") == 0


def test_a_version_that_all_workers_have_ended_goes_with_the_last() -> None:
    clock = Clock()
    totals, workers = Totals(clock), [Worker(), Worker()]
    for n, worker in enumerate(workers):
        worker.requests.labels("m", "1").inc()
        totals.update(n, *worker.snapshot())
    clock.now += LASTING_SECONDS
    for n, worker in enumerate(workers):
        worker.requests.remove("m", "1")
        totals.update(n, *worker.snapshot())
        assert reader(totals)("requests_total", model="m", version="1") == (2 if n == 0 else None)


class Serving(Worker):
    """A worker whose requests are counted by version, as the service does it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.series = VersionSeries(lambda: RequestSeries([0.019]), clock=clock)
        self.registry.register(self.series)

    def answer(self, version: str) -> None:
        self.series.of("m", version).outcomes["ok"].observe(0.01)

    def switch(self, old: str, new: str) -> None:
        self.series.retire("m", old)
        self.series.publish("m", new)


def test_a_version_that_all_workers_have_retired_ends_five_minutes_after_its_last_request_in_the_merged_view() -> None:
    clock = Clock()
    totals, workers = Totals(clock), [Serving(clock) for _ in range(3)]

    def count(version: str) -> float | None:
        """What a scrape shows, after the snapshots of a second."""
        for worker in workers:
            worker.series.sweep()
            totals.update(worker, *worker.snapshot())
        labels = {"model": "m", "version": version, "outcome": "ok"}
        return totals.view([("m", "2")]).get_sample_value("rerank_request_duration_seconds_count", labels)

    for worker in workers:
        worker.series.publish("m", "1")
        worker.answer("1")
    assert count("1") == 3
    for worker in workers:
        worker.switch("1", "2")
    clock.now += 100
    workers[0].answer("1")  # It outlasted the switch.
    assert count("1") == 4
    totals.end(workers.pop())
    clock.now += LASTING_SECONDS - 100
    workers[1].answer("2")
    assert count("1") == 4, "one worker has ended the series, another shows it, and a third is gone"
    clock.now += 99
    assert count("1") == 4
    clock.now += 1
    assert count("1") is None
    assert count("2") == 1
    for worker in workers:
        worker.switch("2", "1")
    assert count("1") == 0


def test_nothing_ends_while_no_worker_runs() -> None:
    clock = Clock()
    totals, worker = Totals(clock), Worker()
    worker.requests.labels("m", "1").inc()
    totals.update(1, *worker.snapshot())
    totals.end(1)
    clock.now += 10 * LASTING_SECONDS
    assert reader(totals)("requests_total", model="m", version="1") == 1


def test_the_metrics_of_the_service_say_how_they_are_merged() -> None:
    totals = Totals()
    for n in range(2):
        exposition = SharedExposition(never, nobody)
        metrics = Metrics(budget_seconds=0.019, exposition=exposition)
        metrics.model_loaded(fake_model())
        is_last = functools.partial(operator.eq, n, 1)
        metrics.watch(in_flight=lambda: 3, queue_depth=lambda: 2, overloaded=is_last, ready=is_last)
        metrics.refresh()
        totals.update(n, *SnapshotReader(exposition.registry, exposition.modes).read())
    read = reader(totals)
    assert (read("rerank_in_flight"), read("rerank_queue_depth"), read("rerank_overloaded")) == (6, 4, 1)
    assert read("rerank_ready") == 1, "a worker that is not ready takes no connection yet, or is being ended"
    assert read("rerank_files_refused", kind="scenes") == 0
    assert read("rerank_latency_budget_seconds") == 0.019
    assert read("rerank_model_info", model="tiny", version="1", family="sort-gen", provider="cpu") == 1
    assert read("rerank_batch_size_bucket", le="8.0") == 0
