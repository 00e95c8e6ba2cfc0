"""Locust, started as a process against a real socket, sends valid payloads and fails on every broken answer."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from loadtest import run
from tests.loadtest.specs import write_bundle_json
from tests.loadtest.stub import Answer, in_input_order, stub_service

# Not importorskip: importing locust patches this process's sockets and threads with gevent.
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs the extra `load`")
ROOT = Path(__file__).parents[2]
USERS, RATE = 2, 20
ENOUGH = 20
WAIT_SECONDS = 240
"""Longer than locust takes to stop on any machine; what runs on for ever ends with the test's own time limit."""


def _twice(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    _, answer = in_input_order(request)
    answer["items"][1] = {**answer["items"][0], "position": 2}
    return 200, answer


def _refuse(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 503, {"title": "overloaded"}


def _locust(folder: Path, answer: Answer, key: str | None = None) -> run.LoadRun:
    """Run locust until it has sent enough requests, however long that takes."""
    bundle = write_bundle_json(folder)
    sent: list[None] = []

    def count(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        sent.append(None)
        return answer(request)

    with stub_service(count, key=key) as port, (folder / "locust.log").open("wb") as log:
        command = [
            *(sys.executable, "-m", "locust", "--locustfile", "loadtest/locustfile.py", "--headless"),
            *("--host", f"http://127.0.0.1:{port}", "--users", str(USERS), "--spawn-rate", str(USERS)),
            *("--csv", str(folder / run.CSV_PREFIX), "--stop-timeout", "60"),
            *("--exit-code-on-error", "0", "--record", str(folder / run.RECORD_FILE)),
            *("--rate", str(RATE), "--bundle", str(bundle), "--candidates", "12", "--payloads", "5"),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
            try:
                while len(sent) < ENOUGH and process.poll() is None:
                    time.sleep(0.02)
                process.terminate()
                status = process.wait(WAIT_SECONDS)
            finally:
                process.kill()
    assert status == 0, (folder / "locust.log").read_text("utf-8")
    return run.read_run(folder)


@pytest.mark.long
def test_valid_lists_pass_and_every_response_time_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", "one, two")
    found = _locust(tmp_path, in_input_order, key="one")
    assert found.failures == {}
    assert found.latency.requests >= ENOUGH
    seconds = found.latency.requests / found.requests_per_second
    assert found.latency.requests <= USERS * (RATE * seconds + 2), "a user sends no faster than its rate"


@pytest.mark.long
@pytest.mark.parametrize(("answer", "fault"), [(_twice, "has an id twice"), (_refuse, "status 503")])
def test_broken_answers_are_failures(tmp_path: Path, answer: Answer, fault: str) -> None:
    found = _locust(tmp_path, answer)
    assert sum(found.failures.values()) == found.latency.requests >= ENOUGH
    assert all(fault in failure for failure in found.failures)
    assert f"{found.latency.requests} of {found.latency.requests} requests failed" in found.faults(10_000_000)


@pytest.mark.long
def test_without_a_host_a_headless_run_ends_at_once(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", "loadtest/locustfile.py", "--headless", "--run-time", "1s"),
        *("--bundle", str(write_bundle_json(tmp_path)), "--candidates", "12"),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ended.returncode == 1
    assert "--host: must be the service's URL" in ended.stderr
