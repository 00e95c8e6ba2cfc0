"""Steps in several processes: one that fails stops only what needs it, and a killed run goes on to the same result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from models.evaluation.attempts import LOG_FILE, StepMaker
from models.evaluation.parallel_steps import duration, run_in_parallel
from models.evaluation.step_processes import StepProcesses
from models.evaluation.steps import MARKER, StepError, is_done, read_failure, read_marker
from models.locks import LockedError, only_one
from tests.models.evaluation import parallel_fakes as fakes

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from functools import partial
from pathlib import Path
from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.step_processes import StepProcesses
from tests.models.evaluation.parallel_fakes import one_waits
root, switches = map(Path, sys.argv[1:])
if __name__ == "__main__":
    run_in_parallel(root, partial(one_waits, root, switches), ["first", "second", "third"], StepProcesses(1))
"""


def _run(root: Path, make_steps: StepMaker, jobs: int = 1) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    wanted = [step.name for step in make_steps()]
    return run_in_parallel(root, make_steps, wanted, StepProcesses(jobs), say=said.append), said


def _number(root: Path, step: str) -> str:
    return (root / step / "number").read_text("utf-8")


def _wait_for_the_end_of(process: psutil.Process) -> None:
    end = time.monotonic() + 60
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # nobody may be there to collect it
        assert time.monotonic() < end, f"{process} goes on"
        time.sleep(0.02)


@pytest.mark.long
def test_a_step_that_fails_stops_only_what_needs_it_and_is_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "run"
    make_steps = partial(fakes.one_fails, root, tmp_path)
    failures, said = _run(root, make_steps)
    not_run = "not run: needs fails, which failed"
    assert failures == {"fails": "ValueError: the world is not enough", "behind": not_run, "far/behind": not_run}
    assert [is_done(root, name) for name in ("first", "beside", "last")] == [True] * 3
    assert {name: read_failure(root, name) for name in failures} == failures
    log = (root / "fails" / LOG_FILE).read_text("utf-8")
    assert "the step says this" in log
    assert "Traceback" in log
    assert [line.partition(":")[0] for line in said] == ["first", "fails", "behind", "far/behind", "beside", "last"]
    assert said[-1].endswith("; 0 left")
    before = (root / "first" / MARKER).stat().st_mtime_ns

    (tmp_path / "mended").touch()
    failures, said = _run(root, make_steps)
    assert failures == {}
    assert [line.partition(":")[0] for line in said] == ["fails", "behind", "far/behind"]
    assert _number(root, "far/behind") == "9\n"
    assert read_failure(root, "fails") is None
    assert (root / "first" / MARKER).stat().st_mtime_ns == before


@pytest.mark.long
def test_a_process_that_is_killed_fails_its_step_and_another_takes_its_place(tmp_path: Path) -> None:
    failures, _ = _run(tmp_path, partial(fakes.one_is_killed, tmp_path))
    assert failures == {
        "killed": "its process ended by SIGKILL",
        "behind": "not run: needs killed, which failed",
    }
    assert _number(tmp_path, "beside") == "2\n"


def test_an_idle_process_that_is_killed_costs_no_step(tmp_path: Path) -> None:
    root = tmp_path / "run"
    make_steps = partial(fakes.one_is_lost_idle, root, tmp_path)
    wanted = [step.name for step in make_steps()]
    assert run_in_parallel(root, make_steps, wanted, StepProcesses(2), partial(fakes.killing, tmp_path)) == {}
    assert _number(root, "left") == _number(root, "right") == "1\n"


@pytest.mark.long
def test_steps_run_side_by_side_on_one_thread_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    failures, _ = _run(tmp_path, fakes.two_together, jobs=2)
    assert failures == {}
    markers = [read_marker(tmp_path, name) for name in ("left", "right")]
    notes = [marker["notes"] for marker in markers if marker is not None]
    assert len({note["process"] for note in notes} | {os.getpid()}) == 3
    assert [note["threads"] for note in notes] == ["1", "1"]
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_killed_run_ends_its_processes_and_goes_on_to_the_same_result(number: signal.Signals, tmp_path: Path) -> None:
    root, switches, whole = tmp_path / "run", tmp_path / "switches", tmp_path / "whole"
    switches.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", RUN, str(root), str(switches)], env=environment) as run:
        fakes.wait_for(switches / "in-the-middle")
        worker = psutil.Process(int((switches / "pid").read_text("utf-8")))
        run.send_signal(number)
        run.wait(60)
    _wait_for_the_end_of(worker)
    assert is_done(root, "first")
    assert not is_done(root, "second")
    assert _number(root, "second") == "half"

    (switches / "go").touch()
    for folder in (root, whole):
        assert _run(folder, partial(fakes.one_waits, folder, switches))[0] == {}
    marker = read_marker(root, "second")
    assert marker is not None
    assert marker["resumed"]
    for name in ("first", "second", "third"):
        assert (root / name / "number").read_bytes() == (whole / name / "number").read_bytes()
    assert _number(root, "third") == "321\n"


def test_other_options_are_refused_before_anything_is_run(tmp_path: Path) -> None:
    run_in_parallel(tmp_path, partial(fakes.sized, 1), ["sized"], StepProcesses(1))
    with pytest.raises(StepError, match=r"sized: was begun with size 1, not 2"):
        _run(tmp_path, partial(fakes.sized, 2))
    assert not (tmp_path / "new").exists()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(LockedError, match="another process"):
        _run(tmp_path, partial(fakes.sized, 1))
    assert not is_done(tmp_path, "new")


def test_what_needs_a_step_that_is_not_asked_for_is_not_run(tmp_path: Path) -> None:
    failures = run_in_parallel(
        tmp_path, partial(fakes.one_waits, tmp_path, tmp_path), ["first", "third"], StepProcesses(1)
    )
    assert failures == {"third": "not run: needs second, which is not done"}
    assert is_done(tmp_path, "first")


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (3723, "62 min 3 s")])
def test_durations_are_for_readers(seconds: float, text: str) -> None:
    assert duration(seconds) == text
