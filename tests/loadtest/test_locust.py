"""Locust, started as a process against a real socket, sends valid payloads and fails on every broken answer."""

from __future__ import annotations

import subprocess
import sys
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


def _twice(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    _, answer = in_input_order(request)
    answer["items"][1] = {**answer["items"][0], "position": 2}
    return 200, answer


def _refuse(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 503, {"title": "overloaded"}


def _locust(folder: Path, answer: Answer, *, seconds: int = 4) -> run.LoadRun:
    bundle = write_bundle_json(folder)
    with stub_service(answer) as port:
        command = [
            *(sys.executable, "-m", "locust", "--locustfile", "loadtest/locustfile.py", "--headless"),
            *("--host", f"http://127.0.0.1:{port}", "--users", "2", "--spawn-rate", "2", "--run-time", f"{seconds}s"),
            *("--csv", str(folder / run.CSV_PREFIX), "--html", str(folder / run.HTML_FILE)),
            *("--exit-code-on-error", "0", "--record", str(folder / run.RECORD_FILE)),
            *("--rate", "20", "--bundle", str(bundle), "--candidates", "12", "--payloads", "5"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return run.read_run(folder)


def test_valid_lists_pass_and_every_response_time_is_kept(tmp_path: Path) -> None:
    found = _locust(tmp_path, in_input_order)
    assert found.failures == {}
    assert 10 <= found.latency.requests <= 170, "two users of 20 a second each, for four seconds"
    assert 0 < found.requests_per_second < 45
    assert (tmp_path / run.HTML_FILE).stat().st_size > 1000


@pytest.mark.parametrize(("answer", "fault"), [(_twice, "has an id twice"), (_refuse, "status 503")])
def test_broken_answers_are_failures(tmp_path: Path, answer: Answer, fault: str) -> None:
    found = _locust(tmp_path, answer, seconds=4)
    assert sum(found.failures.values()) == found.latency.requests
    assert all(fault in failure for failure in found.failures)
    assert found.faults(10_000) == [f"{found.latency.requests} of {found.latency.requests} requests failed"]
