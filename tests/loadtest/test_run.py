"""The verdict follows the exact response times, the failures and the server's own count of degraded lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import run
from loadtest.rig.statistics import Latency

_BUCKETS = 'rerank_request_duration_seconds_bucket{model="m",version="1",outcome="%s",le="%s"} %d\n'
_COUNT = 'rerank_request_duration_seconds_count{model="m",version="1",outcome="%s"} %d\n'


def _metrics(ok: int, within: int, degraded: int = 0, edge: str = "0.019") -> str:
    text = "# TYPE rerank_request_duration_seconds histogram\n"
    for outcome, total, fast in (("ok", ok, within), ("degraded", degraded, degraded), ("invalid", 0, 0)):
        text += _BUCKETS % (outcome, edge, fast) + _BUCKETS % (outcome, "+Inf", total) + _COUNT % (outcome, total)
    return text


def _folder(path: Path, times: list[float], failures: dict[str, int] | None = None, metrics: str | None = None) -> Path:
    record = {"response_times_ms": times, "failures": failures or {}, "seconds": 0.5}
    (path / run.RECORD_FILE).write_text(json.dumps(record), "utf-8")
    if metrics is not None:
        (path / run.METRICS_FILE).write_text(metrics, "utf-8")
    return path


@given(times=st.lists(st.floats(0, 1e5), min_size=1, max_size=300))
def test_at_most_one_in_a_hundred_is_slower_than_p99_and_p99_was_really_seen(times: list[float]) -> None:
    latency = Latency.of(times)
    assert latency.p99 in times
    assert sum(t > latency.p99 for t in times) <= len(times) / 100
    assert sum(t >= latency.p99 for t in times) > len(times) / 100
    assert latency.p50 <= latency.p95 <= latency.p99 <= latency.worst == max(times)


def test_percentiles_keep_the_decimals_that_decide(tmp_path: Path) -> None:
    found = run.read_run(_folder(tmp_path, [18.99] * 98 + [19.01] * 2))
    assert found.latency.p99 == 19.01
    assert found.faults(19.0) == ["p99 is 19.01 ms, over 19 ms"]
    assert found.faults(19.01) == []


def test_a_clean_fast_run_passes_and_shows_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder(tmp_path, [1.0, 2.0, 3.0, 4.0], metrics=_metrics(ok=4, within=3))
    assert run.main(["--judge", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "4 at 8.0/s, 0 failed" in shown
    assert "p50 2.00 ms" in shown
    assert "4 ok; 75.00% answered with a list within the budget" in shown
    assert "PASS" in shown


def test_one_failure_fails_a_fast_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder(tmp_path, [1.0] * 4, failures={"the list has an id twice": 1})
    assert run.main(["--judge", str(folder)]) == 1
    assert "1 × the list has an id twice" in capsys.readouterr().out


def test_a_run_whose_users_waited_fails_however_few_were_late(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [9.0] * 9_996 + [20_000.0] * 4)
    record = json.loads((folder / run.RECORD_FILE).read_text("utf-8"))
    for asked, faults in (
        (10_500.0, []),
        (15_000.0, ["10000 of 15000 requests were sent: users waited for answers"]),
    ):
        (folder / run.RECORD_FILE).write_text(json.dumps({**record, "asked": asked}), "utf-8")
        assert run.read_run(folder).faults(19.0) == faults


def test_a_run_of_degraded_lists_fails_however_fast(tmp_path: Path) -> None:
    found = run.read_run(_folder(tmp_path, [1.0] * 4, metrics=_metrics(ok=98, within=98, degraded=2)))
    assert found.faults(19.0) == ["2.0% of the lists are degraded, over 1%"]
    few = run.read_run(_folder(tmp_path, [1.0] * 4, metrics=_metrics(ok=99, within=99, degraded=1)))
    assert few.faults(19.0) == []


def test_a_share_is_only_stated_where_the_histogram_has_that_edge() -> None:
    assert run.server_view(_metrics(ok=4, within=3), budget_ms=19).share_within_budget == 0.75
    assert run.server_view(_metrics(ok=4, within=3, edge="0.022"), budget_ms=19).share_within_budget is None
    assert run.server_view("", budget_ms=19).outcomes == {}


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["--judge", str(tmp_path)])
    assert "record.json: is missing" in capsys.readouterr().err
    with pytest.raises(ValueError, match="not one request was sent"):
        run.read_run(_folder(tmp_path, []))
