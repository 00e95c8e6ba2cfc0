"""Run the steps of an experiment by several workers, and go on where one fails.

A step begins when all that it needs is done. One that raises an error, or loses its worker too often, is recorded with
the reason; so is all that needs it, and everything else is run. Workers are processes of this machine
(`step_processes.py`) or actors of a Ray cluster (`step_actors.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from tqdm import tqdm

from models.evaluation.attempts import LOG_FILE, Attempt, Attempts, StepMaker, wait_until
from models.evaluation.schedule import Schedule
from models.evaluation.steps import StepError, check_options, is_done, read_marker, record_failure
from models.files import ended_by_sigterm
from models.locks import only_one

_FALSE_STARTS: Final = 3
"""How many workers may be lost one after another as they start, before no more are started."""


class Worker(Hashable, Protocol):
    """Run one step at a time in a process of its own."""

    def give(self, step: str | None) -> None:
        """Let the worker run a step, or with None just answer."""

    def answer(self) -> str | None:
        """Return the reason why its step failed, or None.

        A new worker answers once it is ready. Raises `EOFError`, which says how the worker ended, if it is lost.
        """

    def end(self) -> None:
        """End the worker, by force if it runs a step."""


WorkerT = TypeVar("WorkerT", bound=Worker)


class Workers(Protocol[WorkerT]):
    """Start workers of one kind, up to `count`."""

    @property
    def count(self) -> int:
        """Return the most workers there may be."""

    @property
    def tries(self) -> int:
        """Return the number of lost workers after which a step has failed."""

    @property
    def patience(self) -> float:
        """Return the seconds within which all see files and locks as they are."""

    def start(self, begin: Callable[[], Attempt]) -> WorkerT:
        """Start a worker, which begins once and attempts what it is given."""

    def wait(self, workers: Sequence[WorkerT]) -> Collection[WorkerT]:
        """Wait until any of the workers has an answer, and return those that have."""


def run_in_parallel(
    root: Path,
    make_steps: StepMaker,
    wanted: Collection[str],
    workers: Workers[Any],
    say: Callable[[str], None] = tqdm.write,
) -> dict[str, str]:
    """Run the `wanted` steps that are not done.

    Return by name why steps failed or could not run. Steps begin in their order where they can. Raises `StepError`
    before any if one was begun under other options, later if no worker can be started or one sees another folder, and
    `locks.LockedError` if another run works in `root`.
    """
    steps = make_steps()
    check_options(root, steps)
    attempts = Attempts(root.resolve(), make_steps, workers.patience, Path.cwd())
    with only_one(root), ended_by_sigterm():
        return _Runner(root, attempts, Schedule(root, steps, wanted), workers, say).run()


class _Runner(Generic[WorkerT]):
    """Give steps to workers as they become free, and report every step that ends."""

    def __init__(
        self,
        root: Path,
        attempts: Attempts,
        schedule: Schedule,
        workers: Workers[WorkerT],
        say: Callable[[str], None],
    ) -> None:
        self._root, self._attempts, self._schedule, self._say = root, attempts, schedule, say
        self._workers = workers
        self._idle: list[WorkerT] = []
        self._starting: set[WorkerT] = set()
        self._asked: dict[WorkerT, str | None] = {}  # all that owe an answer; by step, or None
        self._losses: Counter[str] = Counter()
        self._false_starts: list[str] = []
        self._bar = tqdm(total=len(schedule.waiting), unit="step", disable=None)

    def run(self) -> dict[str, str]:
        """Run all steps, and return why some are not done."""
        try:
            self._skip(self._schedule.skip_what_cannot_run())
            while self._schedule.left:
                self._occupy()
                for worker in self._workers.wait(list(self._asked)):
                    self._hear(worker)
        finally:
            for worker in [*self._idle, *self._asked]:
                worker.end()
            self._bar.close()
        return self._schedule.failures

    def _occupy(self) -> None:
        """Ask idle workers whether they are still there, and start others for what is left."""
        startable = len(self._schedule.startable())
        while startable and self._idle:
            worker = self._idle.pop()
            self._asked[worker] = None
            worker.give(None)
        if len(self._false_starts) >= _FALSE_STARTS:
            if not self._asked:
                raise StepError(f"no process could be started for the steps: it ended {self._false_starts[-1]}")
            return
        unserved = startable - list(self._asked.values()).count(None)
        for _ in range(min(unserved, self._workers.count - len(self._idle) - len(self._asked))):
            worker = self._workers.start(self._attempts)
            self._starting.add(worker)
            self._asked[worker] = None

    def _hear(self, worker: WorkerT) -> None:
        """Take the answer of a worker: to a step, or that it is there."""
        step, is_new = self._asked.pop(worker), worker in self._starting
        self._starting.discard(worker)
        try:
            reason = worker.answer()
        except EOFError as lost:
            self._lose(step, str(lost), is_new)
            return
        self._false_starts.clear()
        if step is not None:
            self._idle.append(worker)
            self._end_step(step, reason)
        else:
            self._give_next(worker)

    def _give_next(self, worker: WorkerT) -> None:
        """Give the next step to a worker that has just answered.

        An idle one may have been lost unseen, and one that starts may never find room; neither may hold a step up.
        """
        step = self._schedule.start_next()
        if step is None:
            self._idle.append(worker)
        else:
            self._asked[worker] = step
            worker.give(step)

    def _lose(self, step: str | None, how: str, is_new: bool) -> None:
        """Let the step of a lost worker, if any, be tried again, or fail."""
        if is_new:
            self._false_starts.append(how)
        else:
            self._false_starts.clear()
        if step is None:
            self._say(f"a process {'that started' if is_new else 'without a step'} ended {how}")
            return
        self._losses[step] += 1
        if self._losses[step] < self._workers.tries:
            self._schedule.put_back(step)
            self._say(f"{step}: its process ended {how}; is tried again")
        else:
            times = f"{self._losses[step]} times, at last " if self._losses[step] > 1 else ""
            self._end_step(step, f"its process ended {times}{how}")

    def _end_step(self, step: str, reason: str | None) -> None:
        if reason is not None:
            record_failure(self._root, step, reason)
            skipped = self._schedule.fail(step, reason)
            self._report(step, f"failed: {reason}; see {self._root / step / LOG_FILE}")
            self._skip(skipped)
            return
        # Others would end no better, each after as long a wait.
        if not wait_until(partial(is_done, self._root, step), self._workers.patience):
            raise StepError(f"{self._root / step}: is not seen to be done; do all machines see one folder?")
        self._schedule.finish(step)
        marker = read_marker(self._root, step)
        assert marker is not None
        self._report(step, f"done in {duration(marker['seconds'])}")

    def _skip(self, steps: Collection[str]) -> None:
        for step in steps:
            reason = self._schedule.failures[step]
            record_failure(self._root, step, reason)
            self._report(step, reason)

    def _report(self, step: str, text: str) -> None:
        self._bar.update(1)
        self._say(f"{step}: {text}; {self._schedule.left} left")


def duration(seconds: float) -> str:
    """Write a duration for a reader, such as 2 min 3 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
