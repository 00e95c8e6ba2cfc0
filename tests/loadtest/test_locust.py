"""Locust, started as a process against a real socket, sends valid payloads and fails on every broken answer."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from loadtest import report
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


def _locust(folder: Path, answer: Answer, *, seconds: int = 4) -> report.LoadRun:
    bundle = write_bundle_json(folder)
    with stub_service(answer) as port:
        command = [
            *(sys.executable, "-m", "locust", "--locustfile", "loadtest/locustfile.py", "--headless"),
            *("--host", f"http://127.0.0.1:{port}", "--users", "2", "--spawn-rate", "2", "--run-time", f"{seconds}s"),
            *("--csv", str(folder / report.CSV_PREFIX), "--html", str(folder / report.HTML_FILE)),
            *("--exit-code-on-error", "0", "--record", str(folder / report.RECORD_FILE)),
            *("--rate", "20", "--bundle", str(bundle), "--candidates", "12", "--payloads", "5"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return report.read_run(folder)


def test_valid_lists_pass_and_every_response_time_is_kept(tmp_path: Path) -> None:
    run = _locust(tmp_path, in_input_order)
    assert run.failures == {}
    assert 10 <= run.latency.requests <= 170, "two users of 20 a second each, for four seconds"
    assert 0 < run.requests_per_second < 45
    assert (tmp_path / report.HTML_FILE).stat().st_size > 1000


@pytest.mark.parametrize(("answer", "fault"), [(_twice, "has an id twice"), (_refuse, "status 503")])
def test_broken_answers_are_failures(tmp_path: Path, answer: Answer, fault: str) -> None:
    run = _locust(tmp_path, answer, seconds=4)
    assert sum(run.failures.values()) == run.latency.requests
    assert all(fault in failure for failure in run.failures)
    assert run.faults(10_000) == [f"{run.latency.requests} of {run.latency.requests} requests failed"]
