"""Workers that are stopped, starved or killed: one that hangs is replaced, and nothing else is."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.requests import request
from tests.service.workers.test_workers import DURATION, Service, eventually, serving, stopped

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")]
LABELS = {"model": "tiny", "version": "1", "outcome": "ok"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers; each test leaves two that answer."""
    with serving(tmp_path_factory.mktemp("hangs")) as found:
        yield found
        assert found.process.stop()[0] == 0


def ended(service: Service, reason: str) -> float:
    """Workers that have ended for this reason, as the supervisor shows it."""
    found = service.scrape(service.process.admin_port)
    return found["rerank_workers_ended_total", frozenset({("reason", reason)})]


def reload_in_the_background(service: Service) -> tuple[int, str]:
    """Status and detail of a reload, however long it takes."""
    url = f"http://127.0.0.1:{service.process.admin_port}/admin/v1/reload"
    sent = urllib.request.Request(url, b'{"model": "tiny"}', {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(sent, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def both_answer(service: Service) -> bool:
    return len(service.workers()) == 2 and service.value("rerank_workers_live") == 2


def test_one_stopped_for_ever_and_one_killed_during_a_reload_heal_by_themselves(service: Service) -> None:
    before, hung, killed = service.workers(), ended(service, "hung"), ended(service, "killed")
    os.kill(before[0], signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(reload_in_the_background, service)
        eventually(service.is_reloading)
        os.kill(before[1], signal.SIGKILL)
        status, text = answer.result(120)
    assert status == 503, text
    assert "nothing has changed" in text
    eventually(lambda: both_answer(service), 120)
    assert not set(before) & set(service.workers())
    assert service.versions() == {"1"}
    assert (ended(service, "hung"), ended(service, "killed")) == (hung + 1, killed + 1)
    eventually(lambda: service.reload()[0] == 200, 60)


def test_one_that_is_stopped_for_two_seconds_goes_on(service: Service) -> None:
    before, counted = service.workers(), ended(service, "hung")
    with stopped(before[0]):
        time.sleep(2)
    with service.on(before[0]) as connection:
        assert connection.ask("/v1/rerank", request())[0] == 200
    time.sleep(1)
    assert service.workers() == before
    assert ended(service, "hung") == counted


def test_a_supervisor_that_was_stopped_kills_nobody(service: Service) -> None:
    stop_the_supervisor_for(service, 8)


@pytest.mark.slow
def test_nor_does_one_that_was_stopped_for_long(service: Service) -> None:
    stop_the_supervisor_for(service, 20)


def stop_the_supervisor_for(service: Service, seconds: float) -> None:
    before, counted = service.workers(), ended(service, "hung")
    with stopped(service.process.popen.pid):
        began = time.monotonic()
        assert service.process.ask("/v1/rerank", request())[0] == 200
        status, problem = service.process.ask("/metrics")
        assert (status, problem["type"]) == (503, "urn:listwright:problem:not-ready")
        time.sleep(max(0, began + seconds - time.monotonic()))
    for _ in range(3):
        assert service.workers() == before
        assert ended(service, "hung") == counted
        time.sleep(0.5)
    assert both_answer(service)


def test_a_worker_that_is_killed_loses_no_counts_that_were_shown(service: Service) -> None:
    victim = service.workers()[0]
    with service.on(victim) as connection:
        for _ in range(7):
            assert connection.ask("/v1/rerank", request())[0] == 200
        shown = connection.value(DURATION, **LABELS)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in service.workers() and both_answer(service), 60)
    assert service.value(DURATION, **LABELS) == shown


def test_a_worker_that_ends_in_order_loses_none_at_all(service: Service) -> None:
    victim, stopped_ones = service.workers()[0], ended(service, "stopped")
    with service.on(victim) as connection:
        shown = connection.value(DURATION, **LABELS) or 0
        for _ in range(7):
            assert connection.ask("/v1/rerank", request())[0] == 200
    os.kill(victim, signal.SIGTERM)
    eventually(lambda: victim not in service.workers() and both_answer(service), 60)
    assert service.value(DURATION, **LABELS) == shown + 7
    assert ended(service, "stopped") == stopped_ones + 1


def test_a_scrape_does_not_wait_for_a_worker_that_hangs(service: Service) -> None:
    hanging, other = service.workers()
    with service.on(hanging) as connection:
        assert connection.ask("/v1/rerank", request())[0] == 200
        counted = connection.value(DURATION, **LABELS)
    with service.on(other) as connection, stopped(hanging):
        assert connection.ask("/v1/rerank", request())[0] == 200
        assert connection.value(DURATION, **LABELS) == (counted or 0) + 1


def test_whatever_the_environment_says_nothing_is_written(tmp_path: Path) -> None:
    """The client library would keep its values in files, in a folder that these variables name."""
    folder = tmp_path / "absent"
    names = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
    with serving(tmp_path, **dict.fromkeys(names, str(folder))) as service:
        assert service.process.ask("/v1/rerank", request())[0] == 200
        eventually(lambda: service.value(DURATION, **LABELS) == 1)
        status, _, err = service.process.stop()
    assert (status, "Traceback" in err, folder.exists()) == (0, False, False)
