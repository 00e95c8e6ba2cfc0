"""Run jobs on one thread per device, in batches, the most urgent first.

When the thread is free it takes all that waits for the most urgent request's model, up to the largest batch and no
more than the tightest deadline among them allows. There is no timer: a lone request never waits for company. Jobs come
in through a `SimpleQueue` and answers go back with `call_soon_threadsafe`; ONNX Runtime releases the GIL while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Final

from service.inference.batching import PATIENCE_SECONDS, most_urgent, next_batch
from service.inference.engine import BatchArrays, Engine, EngineError, Job
from service.inference.run_times import RunTimes
from service.inference.runs import ArrayForm, BatchForm, FinishedRun, run_batch

_log = logging.getLogger(__name__)
INFERENCE: Final = "inference"
"""Name of the thread."""

_CLOSE_SECONDS: Final = 1.0
"""Most time for a run to end that nobody waits for any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run in progress, without jobs if it is a step of a warm-up."""

    engine: Engine
    jobs: Sequence[Job] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """Work with an engine that gives way to jobs."""

    engine: Engine
    work: Callable[[], bool]
    done: Future[bool] = field(default_factory=Future)
    submitted: float = field(default_factory=perf_counter)

    def turn_has_come(self, now: float) -> bool:
        """Tell whether it has given way for long enough."""
        return now - self.submitted > PATIENCE_SECONDS


class InferenceThread:
    """Run jobs in batches, the most urgent first.

    `form` is that of their rows and answers: arrays, unless it says otherwise.
    """

    def __init__(self, form: BatchForm | None = None) -> None:
        self._form = ArrayForm() if form is None else form
        self._inbox: SimpleQueue[Job | _Step | None] = SimpleQueue()
        self._waiting: list[Job] = []
        self._steps: deque[_Step] = deque()
        self._given_up: EngineError | None = None
        self.current: Run | None = None
        """The run in progress."""
        self._times = RunTimes()
        self._done_at: float | None = None
        """When the run in progress is expected to end; None while nothing runs."""
        self.in_background = 0
        """Jobs in the background that have no answer yet; counted by the dispatchers, on the event loop."""
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=INFERENCE, daemon=True)
        self._thread.start()

    @property
    def given_up(self) -> str | None:
        """Reason why no run is made any more, or None."""
        return None if self._given_up is None else str(self._given_up)

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing will be run any more: it was closed, or failed."""
        return not self._thread.is_alive()

    @property
    def depth(self) -> int:
        return self._inbox.qsize() + len(self._waiting)

    @property
    def idle(self) -> bool:
        """Tell whether nothing runs or waits."""
        return self.current is None and not self.depth

    def submit(self, job: Job) -> None:
        """Queue `job`; its future gets an `Answer` or an `EngineError`."""
        if self._given_up is not None:
            job.future.set_exception(self._given_up)
            return
        self._inbox.put(job)

    def withdraw(self, job: Job) -> None:
        """Do nothing: a job whose future is done is dropped before its run."""

    async def warm(self, engine: Engine, batch: BatchArrays) -> None:
        """Run every shape that is served, on this thread. Raises the engine's errors.

        Every run gives way to jobs.
        """
        runs = engine.warm_runs(batch)
        while await self.step(engine, lambda: next(runs, self) is not self):
            pass

    async def step(self, engine: Engine, work: Callable[[], bool]) -> bool:
        """Run `work` on this thread when no job waits, and return its result.

        It has its turn after a while in any case. Raises its errors, and `EngineError` if the thread has been given up.
        """
        if self._given_up is not None:
            raise self._given_up
        step = _Step(engine, work)
        self._inbox.put(step)
        return await asyncio.wrap_future(step.done)

    def give_up(self, error: EngineError) -> None:
        """Fail all jobs and steps with `error`, now and from now on.

        For a thread that hangs; called from the event loop.
        """
        self._given_up = error
        current = self.current
        jobs, steps = list(current.jobs) if current else [], list(self._steps)
        jobs += self._waiting
        with contextlib.suppress(Empty):
            while True:
                item = self._inbox.get_nowait()
                jobs += [item] if isinstance(item, Job) else []
                steps += [item] if isinstance(item, _Step) else []
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)
        for step in steps:
            _fail(step.done, error)

    def seconds_until_done(self, engine: Engine, *, background: bool = False) -> float:
        """Estimate the time until a job that is submitted now is done.

        Jobs in the background wait for all others, and others for none of them. That is the rest of the present run,
        and the runs up to its own. Only jobs for the same engine are counted exactly; other engines' jobs count as if
        they were this one's.
        """
        depth = self.depth if background else self._waiting_in_foreground()
        return self._seconds_left() + self._times.of_jobs(engine, depth + 1)

    def seconds_until_free(self, engine: Engine) -> tuple[float, float]:
        """Estimate the time until all that waits now is done.

        Two figures: without jobs in the background, and with them. All count as if they were for this engine.
        """
        left, depth, foreground = self._seconds_left(), self.depth, self._waiting_in_foreground()
        free = left + self._times.of_jobs(engine, foreground)
        return free, free if depth <= foreground else left + self._times.of_jobs(engine, depth)

    def _seconds_left(self) -> float:
        """Estimate the rest of the present run."""
        done_at = self._done_at
        return 0.0 if done_at is None else max(0.0, done_at - perf_counter())

    def _waiting_in_foreground(self) -> int:
        return max(0, self.depth - self._waiting_in_background())

    def _waiting_in_background(self) -> int:
        current = self.current
        running = sum(job.background for job in current.jobs) if current is not None and self.in_background else 0
        return self.in_background - running

    def run_seconds(self, engine: Engine) -> float:
        """Return a bound for 99 of 100 single runs; 0 before the first run."""
        return self._times.of(engine).bound(1)

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Finish what waits, then end the thread.

        A thread that does not end in so many seconds is left behind.
        """
        self._inbox.put(None)
        if self._given_up is None:
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            while self._take_in():
                if self._steps and (not self._waiting or self._steps[0].turn_has_come(perf_counter())):
                    self._run_step(self._steps.popleft())
                elif self._waiting:
                    self._run_next()
        except Exception:  # Faults of engines do not come here.
            _log.exception("the inference thread has failed")

    def _take_in(self) -> bool:
        """Take in new jobs, sleeping while there are none; False once all is done."""
        sleeping = not self._waiting and not self._steps and not self._closing
        try:
            while True:
                item = self._inbox.get(block=sleeping)
                sleeping = False
                if item is None:
                    self._closing = True
                elif isinstance(item, Job):
                    self._waiting.append(item)
                else:
                    self._steps.append(item)
        except Empty:
            return bool(self._waiting or self._steps) or not self._closing

    def _run_next(self) -> None:
        """Run the next batch, and send its answers to the event loop."""
        self._waiting = [job for job in self._waiting if not job.future.done()]
        if not self._waiting:
            return
        # Choose a batch, and leave the rest waiting.
        now = perf_counter()
        engine = most_urgent(self._waiting, now).engine
        times = self._times.of(engine)
        batch = next_batch(self._waiting, times.predict, now)
        for job in batch:
            job.started = True
        chosen = set(map(id, batch))
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        # Run it. What is set here is read by the event loop meanwhile.
        started = perf_counter()
        self._done_at = started + times.predict(len(batch))
        self.current = Run(engine, batch)
        outcome = run_batch(engine, batch, self._form)
        seconds = perf_counter() - started
        self._done_at = self.current = None
        if not isinstance(outcome, EngineError):
            self._times.add(engine, len(batch), seconds)
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            batch[0].loop.call_soon_threadsafe(self._form.deliver, FinishedRun(batch, outcome, started, seconds))

    def _run_step(self, step: _Step) -> None:
        if not step.done.set_running_or_notify_cancel():
            return
        self.current = Run(step.engine)
        try:
            result = step.work()
        except Exception as error:
            _fail(step.done, error)
        else:
            with contextlib.suppress(InvalidStateError):  # It was given up meanwhile.
                step.done.set_result(result)
        self.current = None


def _fail(done: Future[bool], error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        done.set_exception(error)
