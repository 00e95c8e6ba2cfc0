"""What a worker expects of the engine process: what it was told, and what it has sent since."""

from __future__ import annotations

from typing import Any

import pytest

from service.engines import backlog as backlog_module
from service.engines.backlog import Backlog
from service.inference.engine import Job
from service.inference.run_times import RunTimes
from tests.service.inference.test_engine import Recorder

ENGINE = Recorder(largest_batch=1)
NOW = 1000.0


def jobs(*background: bool) -> list[tuple[int, Job]]:
    nothing: Any = None
    return [(n, Job(ENGINE, {}, nothing, nothing, background=behind)) for n, behind in enumerate(background)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the backlog takes for the time."""
    now = [NOW]
    monkeypatch.setattr(backlog_module, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def times() -> RunTimes:
    """Every run takes two seconds."""
    found = RunTimes()
    found.add(ENGINE, 1, 2.0)
    return found


def seconds(backlog: Backlog, pending: list[tuple[int, Job]], times: RunTimes, *, background: bool = False) -> float:
    return backlog.seconds_until_done(pending, times, ENGINE, background=background)


@pytest.mark.usefixtures("clock")
def test_before_anything_is_told_only_its_own_jobs_count(times: RunTimes) -> None:
    backlog = Backlog()
    assert backlog.is_over
    assert seconds(backlog, [], times) == pytest.approx(2)
    assert seconds(backlog, jobs(False, False, False), times) == pytest.approx(8)
    assert seconds(backlog, jobs(False, False, False), RunTimes()) == 0, "nothing is known of its runs"


def test_what_is_told_is_counted_down_and_what_it_spoke_of_is_not_counted_twice(
    clock: list[float], times: RunTimes
) -> None:
    backlog = Backlog()
    backlog.tell(1, NOW + 10, NOW + 10)
    assert seconds(backlog, [], times) == pytest.approx(12)
    assert seconds(backlog, jobs(False, False, False, False), times) == pytest.approx(16), "jobs 2 and 3 came later"
    clock[0] += 4
    assert seconds(backlog, [], times) == pytest.approx(8)
    clock[0] += 100
    assert seconds(backlog, [], times) == pytest.approx(2)


@pytest.mark.usefixtures("clock")
def test_a_request_waits_for_nothing_in_the_background_which_waits_for_all(times: RunTimes) -> None:
    backlog = Backlog()
    backlog.tell(2, NOW + 10, NOW + 30)
    pending = jobs(True, False, True, True, False)
    assert seconds(backlog, pending, times) == pytest.approx(10 + 2 + 2), "job 4"
    assert seconds(backlog, pending, times, background=True) == pytest.approx(30 + 4 + 2), "jobs 3 and 4"


def test_the_process_is_done_when_it_said_it_would_be(clock: list[float]) -> None:
    backlog = Backlog()
    over = []
    for told, now in ((None, NOW), (NOW + 10, NOW), (None, NOW + 9), (None, NOW + 10), (NOW + 11, NOW + 10)):
        clock[0] = now
        if told is not None:
            backlog.tell(0, NOW, told)
        over.append(backlog.is_over)
    assert over == [True, False, False, True, False]


@pytest.mark.usefixtures("clock")
def test_a_job_that_was_withdrawn_may_keep_the_process_at_work_unless_it_has_spoken_of_it(times: RunTimes) -> None:
    backlog = Backlog()
    backlog.tell(3, NOW + 1, NOW + 1)
    backlog.leave(3, NOW + 50)
    assert seconds(backlog, [], times) == pytest.approx(1 + 2)
    backlog.leave(4, NOW + 6)
    backlog.leave(5, NOW + 4)
    assert seconds(backlog, [], times) == pytest.approx(6 + 2)
    backlog.tell(5, NOW, NOW)
    assert backlog.is_over
