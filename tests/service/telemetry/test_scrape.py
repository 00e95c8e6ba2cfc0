"""Scrapes are rendered beside the event loop, one at a time, in a format that the scraper accepts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.registry import Collector

from service.telemetry import pacing
from service.telemetry.metrics import Metrics
from service.telemetry.scrape import OPENMETRICS, PLAIN, Scraper, choose_format
from service.telemetry.snapshots import SnapshotReader
from tests.service.live import fake_model, live_app
from tests.service.requests import request
from tests.service.tiny_bundle import Options

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def reading(registry: CollectorRegistry) -> Callable[[], Awaitable[CollectorRegistry]]:
    async def read() -> CollectorRegistry:
        return registry

    return read


@pytest.mark.parametrize("accept", [PROMETHEUS_3, "application/openmetrics-text", "APPLICATION/OpenMetrics-Text;q=1"])
def test_a_scraper_that_accepts_openmetrics_gets_it(accept: str) -> None:
    assert choose_format(accept) is OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=x",
        ";,",
    ],
)
def test_any_other_gets_the_plain_format(accept: str) -> None:
    assert choose_format(accept) is PLAIN


def test_the_text_is_what_the_client_library_writes_without_pauses() -> None:
    metrics = Metrics(budget_seconds=0.019)
    metrics.model_loaded(fake_model())
    registry = CollectorRegistry()
    for collector in list(metrics.registry._collector_to_names):
        if "rerank" in str(collector) or "telemetry" in type(collector).__module__:
            registry.register(collector)

    async def both() -> tuple[bytes, bytes]:
        scraper = Scraper(reading(registry))
        return bytes((await scraper.answer("")).body), bytes((await scraper.answer(PROMETHEUS_3)).body)

    plain, openmetrics = asyncio.run(both())
    assert plain == generate_latest(registry)
    assert openmetrics == generate_openmetrics(registry)  # type: ignore[no-untyped-call]


def test_openmetrics_is_served_with_its_type_and_can_be_read() -> None:
    with live_app(fake_model()) as live:
        live.post(request())
        reply = live.get("/metrics", {"Accept": PROMETHEUS_3})
    assert reply.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name for family in read_openmetrics(reply.body.decode())}  # type: ignore[no-untyped-call]
    assert "rerank_request_duration_seconds" in families


def test_it_pauses_every_few_samples_so_that_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(budget_seconds=0.019)
    for version in range(20):
        metrics.model_loaded(fake_model(options=Options(version=str(version))))
    pauses: list[float] = []
    monkeypatch.setattr(pacing, "sleep", pauses.append)
    asyncio.run(Scraper(reading(metrics.registry)).answer(""))
    samples = sum(1 for metric in metrics.registry.collect() for _ in metric.samples)
    assert samples > 2_000
    assert len(pauses) > samples / 32
    pauses.clear()
    reader = SnapshotReader(
        metrics.registry, dict.fromkeys((metric.name for metric in metrics.registry.collect()), "max")
    )
    reader.read()
    assert len(pauses) > 1.5 * samples / 40, "what is new is described with pauses too"
    pauses.clear()
    reader.read()
    assert len(pauses) > samples / 40, "some metrics are shorter than what is read at once"


class Slow(Collector):
    """A metric whose collection lasts until a test lets it end."""

    def __init__(self) -> None:
        self.value = 0.0
        self.go = threading.Event()
        self.threads: list[threading.Thread] = []
        self.running = self.most = 0

    def collect(self) -> Iterable[Metric]:
        self.threads.append(threading.current_thread())
        self.running += 1
        self.most = max(self.most, self.running)
        value = self.value
        assert self.go.wait(60)
        self.running -= 1
        return [GaugeMetricFamily("slow", "A metric.", value)]

    async def begun(self, times: int) -> None:
        while len(self.threads) < times:
            await asyncio.sleep(0.001)


def slow_scraper() -> tuple[Slow, Scraper, list[threading.Thread]]:
    """A slow metric, its scraper, and the threads in which gauges were read."""
    slow, registry, readers = Slow(), CollectorRegistry(), list[threading.Thread]()
    registry.register(slow)

    async def read() -> CollectorRegistry:
        readers.append(threading.current_thread())
        return registry

    return slow, Scraper(read), readers


def test_a_flood_of_scrapes_takes_one_thread_and_the_loop_stays_free() -> None:
    async def flood() -> None:
        slow, scraper, readers = slow_scraper()
        first = asyncio.create_task(scraper.answer(""))
        await slow.begun(1)  # The loop runs while the metric is being collected: else this would never return.
        slow.value = 1
        others = [asyncio.create_task(scraper.answer(accept)) for accept in ("", PROMETHEUS_3) for _ in range(200)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in others)
        slow.go.set()
        assert b"slow 0.0" in (await first).body
        replies = await asyncio.gather(*others)
        assert all(b"slow 1.0" in reply.body for reply in replies), "a scrape shows all that came before it"
        assert slow.most == 1
        assert len(slow.threads) == 3
        assert threading.main_thread() not in slow.threads
        assert set(readers) == {threading.main_thread()}

    asyncio.run(flood())


def test_a_scrape_that_is_given_up_does_not_end_the_others() -> None:
    async def give_up() -> None:
        slow, scraper, _ = slow_scraper()
        first = asyncio.create_task(scraper.answer(""))
        await slow.begun(1)
        second, third = (asyncio.create_task(scraper.answer("")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        slow.go.set()
        assert (await third).status_code == 200

    asyncio.run(give_up())


def test_a_scrape_that_fails_does_not_break_the_next() -> None:
    async def fail() -> None:
        faults = [RuntimeError("no")]

        async def read() -> CollectorRegistry:
            if faults:
                raise faults.pop()
            return CollectorRegistry()

        scraper = Scraper(read)
        with pytest.raises(RuntimeError, match="no"):
            await scraper.answer("")
        assert (await scraper.answer("")).status_code == 200

    asyncio.run(fail())
