"""The order of steps: the first that waits for nothing comes next, whatever was done before."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.evaluation.schedule import Schedule
from models.evaluation.steps import ExperimentStep, run_step


def _step(name: str, *needs: str) -> ExperimentStep:
    return ExperimentStep(name, "some", {}, lambda _: {}, needs)


STEPS = [_step("a"), _step("b", "a"), _step("c"), _step("d", "b", "c")]
NAMES = [step.name for step in STEPS]


def test_steps_start_in_order_where_they_can(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, STEPS, NAMES)
    assert [schedule.start_next(), schedule.start_next(), schedule.start_next()] == ["a", "c", None]
    schedule.finish("a")
    assert schedule.start_next() == "b"
    schedule.finish("b")
    assert schedule.start_next() is None
    schedule.finish("c")
    assert schedule.start_next() == "d"
    assert not schedule.waiting
    assert list(schedule.running) == ["d"]


def test_a_step_that_was_broken_off_is_the_next_to_start(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, STEPS, NAMES)
    assert schedule.startable() == ["a", "c"]
    assert [schedule.start_next(), schedule.start_next()] == ["a", "c"]
    schedule.finish("a")
    schedule.put_back("c")
    assert schedule.startable() == ["c", "b"]
    assert schedule.left == 3
    assert schedule.start_next() == "c"


def test_a_failure_is_named_to_all_that_is_behind_it(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, STEPS, NAMES)
    assert schedule.start_next() == "a"
    assert schedule.fail("a", "no") == ["b", "d"]
    reason = "not run: needs a, which failed"
    assert schedule.failures == {"a": "no", "b": reason, "d": reason}
    assert list(schedule.waiting) == ["c"]


def test_what_is_done_is_not_waited_for(tmp_path: Path) -> None:
    for step in STEPS[:2]:
        run_step(tmp_path, step)
    schedule = Schedule(tmp_path, STEPS, NAMES)
    assert list(schedule.waiting) == ["c", "d"]
    assert schedule.skip_what_cannot_run() == []


def test_a_step_that_was_not_asked_for_is_missed_by_those_behind_it(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, STEPS, ["b", "c", "d"])
    assert schedule.skip_what_cannot_run() == ["b", "d"]
    assert schedule.failures["d"] == "not run: needs a, which is not done"


def test_a_step_comes_behind_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"d: needs b, which does not come before it"):
        Schedule(tmp_path, [STEPS[0], STEPS[3]], NAMES)
