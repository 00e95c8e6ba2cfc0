"""Figures and verdicts of reloads and stops on made-up requests, and one short real run of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from loadtest.resilience import lifecycle
from loadtest.resilience.lifecycle import Stop, judge_stops, stop_figures
from loadtest.resilience.reload_figures import Reloads, TimedReload, judge_reloads, reload_figures
from loadtest.rig.answers import read_answers
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.openloop.window import Fault
from loadtest.rig.server import ServerError
from tests.loadtest.tables import squeezed
from tests.loadtest.windows import PAYLOADS, START, Made, ok, refused, window_of

DEADLINE = {"reason": "deadline", "level": "formula"}


def at(second: float) -> int:
    return START + round(second * 1e9)


ORDERS = (TimedReload("2", at(2), at(2.5)), TimedReload("1", at(4), at(4.25)))


def served(*, first: str = "2", during_ms: float = 7.5) -> list[Made]:
    """100/s for six seconds, with two reloads; a period lasts half a second longer than its reload."""
    made = []
    for k in range(600):
        second = k / 100
        version = first if 2.4 <= second < 4.2 else "1"
        busy = 2 <= second < 3 or 4 <= second < 4.75
        made.append(ok(second, during_ms if busy else 6.0, version=version))
    return made


def reloads_of(made: list[Made], orders: Sequence[TimedReload] = ORDERS) -> Reloads:
    window = window_of(made, 6)
    return reload_figures(window, read_answers(window, PAYLOADS), orders, 100.0)


def missed(found: Reloads) -> set[str]:
    return {check.name.partition(": ")[2] for check in judge_reloads(found) if not check.passed}


def test_periods_of_reloads_are_pooled_and_compared_with_as_long_a_time_before_each() -> None:
    found = reloads_of(served())
    assert (found.during.requests, found.reference.requests) == (100 + 75, 100 + 75)
    assert (found.reference.p99_ms, found.during.p99_ms, found.ratio) == (6, 7.5, 1.25)
    assert found.seconds == (0.5, 0.25)
    assert (found.points, found.switched) == (0, 2)
    assert missed(found) == set()


def test_each_target_of_the_reloads_can_be_missed_alone() -> None:
    assert missed(reloads_of(served(during_ms=7.9))) == {"p99 of the lists"}
    assert missed(reloads_of(served(first="1"))) == {"the new version answers"}
    assert missed(reloads_of([*served(), Made(1.0, status=500)])) == {
        "failed requests",
        "answers that are no valid list",
    }
    assert missed(reloads_of([*served(), ok(1.0, items=(("a", 0),))])) == {"answers that are no valid list"}


@pytest.mark.parametrize("bad", [refused, lambda second: ok(second, degraded=DEADLINE)], ids=["refused", "degraded"])
def test_what_a_reload_spoils_is_set_against_the_windows_before(bad: Callable[[float], Made]) -> None:
    beyond = "degraded or refused beyond equal windows without"
    found = reloads_of([*served(), bad(2.1)])
    assert found.points == pytest.approx(100 / 176)
    assert missed(found) == {beyond}
    assert missed(reloads_of([*served(), bad(2.1), bad(1.1)])) == set(), "as many before"
    assert missed(reloads_of([*served(), bad(0.5)])) == set(), "neither in a period nor in its reference"


def test_requests_without_an_answer_during_a_reload_have_failed() -> None:
    found = reloads_of([*served(), *(Made(2.1, fault=Fault.CLOSED) for _ in range(5))])
    assert found.failed == {"closed": 5}
    assert missed(found) == {"failed requests", "answers that are no valid list"}


def test_reloads_too_close_for_an_equal_window_without_one_are_told() -> None:
    with pytest.raises(ServerError, match="no equal window"):
        reloads_of(served(), (TimedReload("2", at(2), at(2.5)), TimedReload("1", at(3.5), at(4))))
    with pytest.raises(ServerError, match="no equal window"):
        reloads_of(served(), (TimedReload("2", at(0.5), at(1)),))


def stop_of(*made: Made, status: int = 0, left: int = 0) -> Stop:
    window = window_of([ok(k / 10) for k in range(20)] + list(made), 3)
    return stop_figures(window, workers=1, status=status, sent_ns=at(1), ended_ns=at(1.75), left=left)


def test_a_connection_refused_is_no_request_lost_and_any_other_fault_is() -> None:
    clean = stop_of(Made(2.5, fault=Fault.CONNECT))
    assert (clean.seconds, clean.answered, clean.refused, clean.lost) == (0.75, 10, 1, {})
    assert all(check.passed for check in judge_stops([clean]))
    for kind in (Fault.RESET, Fault.CLOSED, Fault.CUT, Fault.TIMEOUT):
        found = stop_of(Made(1.5, fault=kind))
        assert found.lost == {kind.name.lower(): 1}
        assert [check.passed for check in judge_stops([clean, found])] == [False, True, True]


def test_a_bad_exit_status_and_a_process_left_are_misses() -> None:
    assert [check.passed for check in judge_stops([stop_of(status=1), stop_of()])] == [True, False, True]
    assert [check.passed for check in judge_stops([stop_of(left=1), stop_of()])] == [True, True, False]


needs_client = pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))


@pytest.mark.long
@needs_client
def test_a_stop_of_the_demo_bundle_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lifecycle.json"
    short = ["--rate", "20", "--reloads", "0", "--stops", "1", "--worker-stops", "0"]
    assert lifecycle.main([*short, "--json", str(file)]) == 0
    report = json.loads(file.read_text("utf-8"))
    assert report["reloads"] is None
    assert report["missed"] == []
    (stop,) = report["stops"]
    assert (stop["status"], stop["left"], stop["lost"]) == (0, 0, {})
    assert stop["refused"] > 0
    assert "| 1 SIGTERMs, 1 worker: exit status 0 | 1 | 1 | pass |" in squeezed(capsys.readouterr().out)


@needs_client
@pytest.mark.slow
def test_a_reload_of_the_demo_bundle_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lifecycle.json"
    short = ["--rate", "20", "--reloads", "1", "--before-seconds", "20", "--period-seconds", "20"]
    status = lifecycle.main([*short, "--stops", "0", "--worker-stops", "0", "--json", str(file)])
    report = json.loads(file.read_text("utf-8"))
    assert status == (1 if report["missed"] else 0)
    assert (len(report["reloads"]["seconds"]), report["reloads"]["switched"]) == (1, 1)
    assert (report["reloads"]["failed"], report["reloads"]["faults"]) == ({}, {})
    assert report["reloads"]["during"]["requests"] > 0
    assert len(report["checks"]) == 5


def test_a_folder_without_a_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lifecycle.main(["--bundles", str(tmp_path)])
    assert "--bundle" in capsys.readouterr().err
