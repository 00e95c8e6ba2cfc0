"""An engine that hangs, in a real process: it says so, answers by the formula, and ends with an error."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from service.inference.watch import HUNG_STATUS
from tests.service.hanging_bundle import hanging_request, write_hanging_bundle
from tests.service.requests import check_list, request
from tests.service.test_process import SERVE, Process, running

LIMIT = "0.5"
HOUR = "3600"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hanging_bundle(tmp_path_factory.mktemp("hanging")).parents[1]


def within(seconds: float, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def scrape(process: Process) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=10) as response:
        return str(response.read(), "utf-8")


def hang(process: Process) -> None:
    """Ask for what makes it hang; the list comes from the formula."""
    status, answer = process.ask("/v1/rerank", hanging_request())
    assert status == 200
    check_list(request(), answer)
    assert answer["degraded"]["reason"] in ("deadline", "model-error")


def ended(process: Process) -> list[dict[str, str]]:
    """Its log, once it has ended with the status of a hang."""
    _, err = process.popen.communicate(timeout=60)
    assert process.popen.returncode == HUNG_STATUS, err
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.long
def test_it_is_not_ready_answers_by_the_formula_and_ends_with_an_error(bundles: Path) -> None:
    flags = ("--engine-hang-seconds", LIMIT, "--shutdown-delay-seconds", "5", "--budget-ms", "1000")
    with running(bundles, SERVE, *flags) as process:
        process.wait_until_ready()
        assert process.ask("/v1/rerank", request())[1]["items"]
        hang(process)
        within(60, lambda: process.ask("/v2/health/ready")[0] == 503)
        reason = process.ask("/v2/health/ready")[1]["detail"]
        assert reason == "the engine hangs in model tiny 1: a run has taken more than 0.5 s"
        assert process.ask("/v2/health/live")[0] == 200
        answer = process.ask("/v1/rerank", request())[1]
        assert answer["degraded"] == {"reason": "model-error", "level": "formula"}
        assert "\nrerank_engine_hangs_total 1.0\n" in scrape(process)
        lines = ended(process)
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert errors[0] == f"{reason}; this process drains and ends"
    last = [line["message"] for line in lines[-2:]]
    assert last == ["stopped", "ending while work goes on in threads: inference"]


@pytest.mark.long
def test_where_deadlines_are_only_observed_what_waits_is_answered_by_the_formula_too(bundles: Path) -> None:
    with running(bundles, SERVE, "--engine-hang-seconds", LIMIT, "--deadline-mode", "observe") as process:
        process.wait_until_ready()
        threads = [threading.Thread(target=hang, args=(process,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        ended(process)


@pytest.mark.long
def test_told_to_stop_while_a_run_hangs_it_ends_within_the_drain_limit(bundles: Path) -> None:
    with running(bundles, SERVE, "--engine-hang-seconds", HOUR, "--drain-seconds", "5") as process:
        process.wait_until_ready()
        hang(process)
        process.popen.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.popen.wait(60) == 0
        assert time.monotonic() - started < 30


@pytest.mark.long
def test_a_process_that_was_stopped_in_a_run_is_no_hang(bundles: Path) -> None:
    with running(bundles, SERVE, "--engine-hang-seconds", "2") as process:
        process.wait_until_ready()
        hang(process)
        process.popen.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        process.popen.send_signal(signal.SIGCONT)
        assert process.ask("/v2/health/ready")[0] == 200, "the time in which it stood still does not count"
        ended(process)


@pytest.mark.long
def test_a_worker_whose_engine_hangs_is_replaced(bundles: Path) -> None:
    with running(bundles, SERVE, "--engine-hang-seconds", LIMIT, "--workers", "2", "--drain-seconds", "1") as process:
        process.wait_until_ready()
        hang(process)

        def all_answer() -> bool:
            found = [process.ask("/v1/rerank", request(2))[1]["degraded"] for _ in range(10)]
            return not any(found)

        within(90, lambda: "\nrerank_engine_hangs_total 1.0\n" in scrape(process))
        within(90, all_answer)
        status, _, err = process.stop()
    assert status == 0, err
    assert "the engine hangs in model tiny 1" in err
