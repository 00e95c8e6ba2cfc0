"""Steps given to workers of any kind: only those that are ready get one, and a lost worker's step is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from models.evaluation.attempts import Attempt, StepMaker
from models.evaluation.parallel_steps import run_in_parallel
from models.evaluation.steps import StepError, is_done, read_failure
from tests.models.evaluation import parallel_fakes as fakes


@dataclass(eq=False)
class FakeWorker:
    """Run steps in this process when the answer is asked for; `lost` counts how often each loses its worker."""

    begin: Callable[[], Attempt]
    lost: dict[str, int]
    steps: list[str] = field(default_factory=list)
    ended: bool = False

    def give(self, step: str) -> None:
        self.steps.append(step)

    def answer(self) -> str | None:
        step = self.steps[-1] if self.steps else ""
        if self.lost.get(step, 0) > 0:
            self.lost[step] -= 1
            raise EOFError("by lightning")
        return self.begin()(step) if step else None

    def end(self) -> None:
        self.ended = True


@dataclass
class FakeWorkers:
    """Start workers of which the first `roomless` never become ready, as in a cluster that is full."""

    count: int = 1
    tries: int = 2
    patience: float = 0.0
    roomless: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    started: list[FakeWorker] = field(default_factory=list)

    def start(self, begin: Callable[[], Attempt]) -> FakeWorker:
        self.started.append(FakeWorker(begin, self.lost))
        return self.started[-1]

    def wait(self, workers: Sequence[FakeWorker]) -> list[FakeWorker]:
        return [worker for worker in workers if worker not in self.started[: self.roomless]][:1]


@pytest.fixture(autouse=True)
def _print_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of these tests are no processes of their own, so their output stays where it goes."""
    monkeypatch.setattr("models.evaluation.attempts._print_to", lambda _: None)


def run(root: Path, make_steps: StepMaker, workers: FakeWorkers) -> tuple[dict[str, str], list[str]]:
    said = deque[str]()
    wanted = [step.name for step in make_steps()]
    return run_in_parallel(root, make_steps, wanted, workers, said.append), list(said)


def test_the_step_of_a_lost_worker_is_tried_again_by_another(tmp_path: Path) -> None:
    workers = FakeWorkers(lost={"fails": 1})
    (tmp_path / "mended").touch()
    failures, said = run(tmp_path / "run", partial(fakes.one_fails, tmp_path / "run", tmp_path), workers)
    assert failures == {}
    assert [worker.steps[:2] for worker in workers.started] == [["first", "fails"], ["fails", "behind"]]
    assert said[1] == "fails: its process ended by lightning; is tried again"
    assert said[-1].endswith("; 0 left")
    assert workers.started[-1].ended


def test_a_step_that_loses_every_worker_has_failed_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "run"
    (tmp_path / "mended").touch()
    workers = FakeWorkers(lost={"fails": 9}, tries=3)
    failures, _ = run(root, partial(fakes.one_fails, root, tmp_path), workers)
    assert failures["fails"] == "its process ended 3 times, at last by lightning"
    assert failures["far/behind"] == "not run: needs fails, which failed"
    assert read_failure(root, "fails") == failures["fails"]
    assert is_done(root, "last")
    assert workers.lost["fails"] == 6


def test_a_worker_for_which_there_is_no_room_holds_no_step_up(tmp_path: Path) -> None:
    workers = FakeWorkers(count=2, roomless=1)
    assert run(tmp_path, fakes.two_in_any_order, workers)[0] == {}
    assert [worker.steps for worker in workers.started] == [[], ["one", "two"]]
    assert all(worker.ended for worker in workers.started)


def test_no_more_workers_are_started_than_there_are_steps_for(tmp_path: Path) -> None:
    workers = FakeWorkers(count=8)
    assert run(tmp_path, fakes.two_in_any_order, workers)[0] == {}
    assert len(workers.started) == 2


def test_workers_that_never_begin_end_the_run(tmp_path: Path) -> None:
    workers = FakeWorkers(count=2, lost={"": 9})
    with pytest.raises(StepError, match="no process could be started for the steps: it ended by lightning"):
        run(tmp_path, fakes.two_in_any_order, workers)
    assert workers.lost[""] == 6


def test_a_folder_that_is_another_one_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.evaluation.attempts.Attempts._attempt", lambda *_: None)
    failures, _ = run(tmp_path, fakes.two_in_any_order, FakeWorkers())
    assert failures["one"] == "is not seen to be done; do all machines see one folder?"
