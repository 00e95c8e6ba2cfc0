"""Run the steps of an experiment in several processes, and go on where one fails.

A step begins when all that it needs is done. One that raises an error, or whose process is killed, is recorded with the
reason; so is all that needs it, and everything else is run. Each process computes on one thread, ends with the process
that started it, and keeps what steps cache between them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

from tqdm import tqdm

from models.evaluation.schedule import Schedule
from models.evaluation.steps import ExperimentStep, check_options, read_marker, record_failure, run_step
from models.files import ended_by_sigterm
from models.locks import only_one

LOG_FILE: Final = "log.txt"
"""What a step printed, in its folder, with the traceback of its error."""
_LONGEST_REASON: Final = 300
_PATIENCE: Final = 10.0
"""Seconds that a process has to end by itself, before it is killed."""
_SPAWN: Final = get_context("spawn")

StepMaker = Callable[[], Sequence[ExperimentStep]]
"""Make the same steps in every process; must be picklable, as a function of a module or a `partial` of one is."""


def run_in_parallel(
    root: Path, make_steps: StepMaker, wanted: Collection[str], *, jobs: int, say: Callable[[str], None] = tqdm.write
) -> dict[str, str]:
    """Run the `wanted` steps that are not done, by `jobs` processes.

    Return by name why steps failed or could not run. Steps begin in their order where they can. Raises `StepError`
    before any if one was begun under other options, and `locks.LockedError` if another run works in `root`.
    """
    steps = make_steps()
    check_options(root, steps)
    with only_one(root), ended_by_sigterm():
        return _Runner(root, make_steps, Schedule(root, steps, wanted), say).run(jobs)


@dataclass(eq=False)
class _Worker:
    """Hold a process, the connection to it, the step that it runs and since when."""

    process: SpawnProcess
    connection: Connection
    step: str = ""

    @classmethod
    def start(cls, root: Path, make_steps: StepMaker) -> _Worker:
        """Start a process that computes on one thread."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, root, make_steps))
        with _one_thread():
            process.start()
        theirs.close()  # so that the end of the process is seen here as the end of the connection
        return cls(process, ours)

    def give(self, step: str) -> None:
        """Let the process run a step."""
        self.step = step
        with suppress(OSError):  # if the process has ended, `answer` says so
            self.connection.send(step)

    def answer(self) -> str | None:
        """Return the reason why its step failed, or None.

        Raises `EOFError` if the process has ended.
        """
        try:
            reason: str | None = self.connection.recv()
        except (EOFError, ConnectionError):
            self.end()
            raise EOFError from None
        self.step = ""
        return reason

    def end(self) -> None:
        """End the process, by force if it takes long."""
        self.connection.close()
        if self.step:
            self.process.terminate()
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()


class _Runner:
    """Give steps to processes as they become free, and report every step that ends."""

    def __init__(self, root: Path, make_steps: StepMaker, schedule: Schedule, say: Callable[[str], None]) -> None:
        self._root, self._make_steps, self._schedule, self._say = root, make_steps, schedule, say
        self._workers: list[_Worker] = []
        self._bar = tqdm(total=len(schedule.waiting), unit="step", disable=None)

    def run(self, jobs: int) -> dict[str, str]:
        """Run all steps, and return why some are not done."""
        try:
            self._skip(self._schedule.skip_what_cannot_run())
            while busy := self._busy(jobs):
                connections = [worker.connection for worker in busy]
                ended = wait(connections)
                for worker in busy:
                    if worker.connection in ended:
                        self._finish(worker)
        finally:
            for worker in self._workers:
                worker.end()
            self._bar.close()
        return self._schedule.failures

    def _busy(self, jobs: int) -> list[_Worker]:
        """Give steps to idle and, up to `jobs`, to new processes; return those at work."""
        idle = [worker for worker in self._workers if not worker.step]
        while (idle or len(self._workers) < jobs) and (step := self._schedule.start_next()) is not None:
            if not idle:
                self._workers.append(_Worker.start(self._root, self._make_steps))
                idle = self._workers[-1:]
            idle.pop().give(step)
        return [worker for worker in self._workers if worker.step]

    def _finish(self, worker: _Worker) -> None:
        step = worker.step
        try:
            reason = worker.answer()
        except EOFError:
            self._workers.remove(worker)
            reason = f"its process ended {_ending(worker.process.exitcode)}"
        if reason is None:
            self._schedule.finish(step)
            marker = read_marker(self._root, step)
            assert marker is not None
            self._report(step, f"done in {duration(marker['seconds'])}")
        else:
            record_failure(self._root, step, reason)
            skipped = self._schedule.fail(step, reason)
            self._report(step, f"failed: {reason}; see {self._root / step / LOG_FILE}")
            self._skip(skipped)

    def _skip(self, steps: Collection[str]) -> None:
        for step in steps:
            reason = self._schedule.failures[step]
            record_failure(self._root, step, reason)
            self._report(step, reason)

    def _report(self, step: str, text: str) -> None:
        self._bar.update(1)
        self._say(f"{step}: {text}; {len(self._schedule.waiting) + len(self._schedule.running)} left")


def duration(seconds: float) -> str:
    """Write a duration for a reader, such as 2 min 3 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile compute on one thread.

    Libraries read the variable as they are loaded.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(connection: Connection, root: Path, make_steps: StepMaker) -> None:
    """Run the steps whose names come through the connection, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that started this one ends it.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ended_by_sigterm():
        steps = {step.name: step for step in make_steps()}
        while True:
            try:
                name = connection.recv()
            except EOFError:
                return
            connection.send(_attempt(root, steps[name]))


def _end_with_parent() -> None:
    """End this process, whatever it does, when the one that started it has ended."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _attempt(root: Path, step: ExperimentStep) -> str | None:
    """Run a step, and return the reason of its failure in one line.

    What it prints goes to its log.
    """
    (root / step.name).mkdir(parents=True, exist_ok=True)
    with (root / step.name / LOG_FILE).open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {step.name}", flush=True)
    try:
        run_step(root, step)
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:_LONGEST_REASON]
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return None
