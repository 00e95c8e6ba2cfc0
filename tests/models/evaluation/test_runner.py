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
from models.evaluation.steps import ExperimentStep, StepError, is_done, read_failure
from tests.models.evaluation import parallel_fakes as fakes


@dataclass(eq=False)
class FakeWorker:
    """Run steps in this process when the answer is asked for; `lost` counts how often each loses its worker."""

    begin: Callable[[], Attempt]
    lost: dict[str, int]
    dead: bool = False
    given: str | None = None
    steps: list[str] = field(default_factory=list)
    ended: bool = False

    def give(self, step: str | None) -> None:
        self.given = step
        self.steps += [] if step is None else [step]

    def answer(self) -> str | None:
        step = self.given
        if step is not None and self.lost.get(step, 0) > 0:
            self.lost[step] -= 1
            self.dead = True
        if self.dead:
            raise EOFError("by lightning")
        return None if step is None else self.begin()(step)

    def end(self) -> None:
        self.ended = True


@dataclass
class FakeWorkers:
    """Start workers of which the first `roomless` never become ready, as in a cluster that is full.

    Those whose numbers are in `stillborn` are lost as they start.
    """

    count: int = 1
    tries: int = 2
    patience: float = 0.0
    roomless: int = 0
    stillborn: range = range(0)
    lost: dict[str, int] = field(default_factory=dict)
    started: list[FakeWorker] = field(default_factory=list)

    def start(self, begin: Callable[[], Attempt]) -> FakeWorker:
        self.started.append(FakeWorker(begin, self.lost, len(self.started) in self.stillborn))
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


def test_idle_workers_that_are_lost_cost_no_step(tmp_path: Path) -> None:
    workers = FakeWorkers(count=3, tries=1)

    def ends_all(_: Path) -> dict[str, str]:
        for worker in workers.started:
            worker.dead = True
        return {}

    def make_steps() -> list[ExperimentStep]:
        names = ("one", "two", "three")
        first = [fakes.make_step(name, ends_all if name == "three" else fakes.write_number(1)) for name in names]
        return [*first, fakes.make_step("last", fakes.write_number(2), *names)]

    failures, said = run(tmp_path, make_steps, workers)
    assert failures == {}
    assert said.count("a process without a step ended by lightning") == 3
    assert [worker.steps for worker in workers.started] == [["one"], ["two"], ["three"], ["last"]]


def test_workers_that_never_begin_end_the_run(tmp_path: Path) -> None:
    workers = FakeWorkers(count=2, stillborn=range(99))
    with pytest.raises(StepError, match="no process could be started for the steps: it ended by lightning"):
        run(tmp_path, fakes.two_in_any_order, workers)
    assert len(workers.started) == 4


def test_workers_that_never_begin_stop_none_that_works(tmp_path: Path) -> None:
    workers = FakeWorkers(count=4, stillborn=range(1, 99))
    names = [f"step-{number}" for number in range(5)]
    failures, said = run(tmp_path, lambda: [fakes.make_step(name, fakes.write_number(1)) for name in names], workers)
    assert failures == {}
    assert workers.started[0].steps == names
    assert said[:3] == ["a process that started ended by lightning"] * 3
    assert said[3].startswith("step-0: done")


def test_a_folder_that_is_another_one_there_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.evaluation.attempts.Attempts._attempt", lambda *_: None)
    workers = FakeWorkers()
    with pytest.raises(StepError, match="one: is not seen to be done; do all machines see one folder"):
        run(tmp_path, fakes.two_in_any_order, workers)
    assert [worker.steps for worker in workers.started] == [["one"]]
    assert workers.started[0].ended
