"""Define an engine, jobs and answers, and stack requests to a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Protocol

import numpy as np

from models.contract.arrays import AnyArray, Arrays
from models.contract.rules.tensors import LIFTS, MEMBERS, SEEN, STEP_BARS
from service.timing.deadline import NEVER

RequestArrays = Mapping[str, AnyArray]
"""Named arrays of one request, without a batch axis."""

BatchArrays = Mapping[str, AnyArray]
"""Named arrays; the first axis of each is the batch."""


_SLOTS_AXIS: Final = {STEP_BARS: 1, MEMBERS: 0, LIFTS: 0, SEEN: 1}
"""The axis of the slots in those tensors of rules that have one."""


class Engine(Protocol):
    """A model that can be run; one thread at a time, unless it is `thread_safe`."""

    @property
    def provider(self) -> str:
        """Provider that it runs on: ``cpu`` or ``cuda``."""

    @property
    def largest_batch(self) -> int:
        """Most rows that one run may hold."""

    @property
    def thread_safe(self) -> bool:
        """Tell whether another thread may warm it than the one that will run it."""

    def run(self, batch: BatchArrays) -> Arrays:
        """Return outputs by name, batch first, for 1 to `largest_batch` rows."""

    def warm_runs(self, batch: BatchArrays) -> Iterator[None]:
        """Run every shape that is served, one run at a step.

        Batches are made from one request (a batch of one).
        """


class EngineError(RuntimeError):
    """The engine failed, or gave an impossible answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's outputs, without a batch axis, and the times of its run.

    It began at `started` on `perf_counter`'s clock, for all requests that it served.
    """

    outputs: Arrays
    wait_seconds: float
    infer_seconds: float
    batch_size: int
    started: float = 0.0


class Outcome(Protocol):
    """Take what becomes of a job, once; an `asyncio.Future` of an `Answer` is one.

    How it gets an answer is known to the form of the batch that it runs in (`runs.BatchForm`). It is used from the
    event loop only, but for `done`.
    """

    def done(self) -> bool:
        """Tell whether nobody waits for the job any more."""

    def set_exception(self, exception: Exception, /) -> None:
        """Give the job an error instead."""


class JobQueue(Protocol):
    """Take jobs: this process's inference thread does, or a link to an engine process.

    Used from the event loop only.
    """

    in_background: int
    """Jobs in the background that have no answer yet; counted by the dispatchers."""

    @property
    def given_up(self) -> str | None:
        """Reason why no run is made, or None."""

    @property
    def depth(self) -> int:
        """Number of jobs that wait."""

    @property
    def idle(self) -> bool:
        """Tell whether nothing runs or waits."""

    def submit(self, job: Job) -> None:
        """Queue `job`; its future gets an `Answer` or an `EngineError`."""

    def withdraw(self, job: Job) -> None:
        """Drop a job whose future is done, unless it runs already."""

    async def warm(self, engine: Engine, batch: BatchArrays) -> None:
        """Warm an engine that is not thread-safe where it runs. Raises the engine's errors."""

    def seconds_until_done(self, engine: Engine, *, background: bool = False) -> float:
        """Estimate the time until a job that is submitted now is done.

        Jobs in the background wait for all others, and others for none of them.
        """

    def run_seconds(self, engine: Engine) -> float:
        """Return a bound for 99 of 100 single runs; 0 before the first run."""


@dataclass(slots=True, eq=False)
class Job:
    """One request's work for an engine.

    It is dropped before inference if `future` is done by then: the deadline came, or the client left. `deadline` is on
    `perf_counter`'s clock. Work in the `background` runs without others, and when nothing else waits; without a
    deadline, also after a while.
    """

    engine: Engine
    row: RequestArrays
    future: Outcome
    loop: asyncio.AbstractEventLoop
    deadline: float = NEVER
    background: bool = False
    started: bool = False
    submitted: float = field(default_factory=perf_counter)


def warm_fully(engine: Engine, batch: BatchArrays) -> None:
    """Warm an engine at once, on this thread. Raises the engine's errors."""
    for _ in engine.warm_runs(batch):
        pass


def stack_rows(rows: Sequence[RequestArrays]) -> BatchArrays:
    """Stack the rows of one model, at least one, in their order.

    Requests differ in two sizes only: the embedding width and, for some models, the number of slots. Both may be padded
    with zeros without changing an answer: zeros add nothing to a cosine, and an invalid slot is never chosen. Requests
    without rules lack the tensors of rules, in which zeros say nothing; where none has them, the batch has none either.
    """
    if len(rows) == 1:
        return {name: array[None] for name, array in rows[0].items()}
    fullest = max(rows, key=len)
    if any(len(row) < len(fullest) for row in rows):
        rows = [_with_all_names(row, fullest) for row in rows]
    return {name: _stack([row[name] for row in rows]) for name in fullest}


def _with_all_names(row: RequestArrays, fullest: RequestArrays) -> RequestArrays:
    """Give a row empty arrays for the tensors of rules that it lacks.

    They are padded with zeros afterwards, and as long as the row has slots: others may have fewer.
    """
    missing = {}
    for name in fullest.keys() - row.keys():
        sizes = [0] * fullest[name].ndim
        if name in _SLOTS_AXIS:
            sizes[_SLOTS_AXIS[name]] = len(row["valid"])
        missing[name] = np.zeros(sizes, fullest[name].dtype)
    return {**row, **missing}


def _stack(arrays: Sequence[AnyArray]) -> AnyArray:
    """Stack arrays, padded with zeros to the largest size of each axis."""
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return np.array(arrays)
    stacked = np.zeros((len(arrays), *map(max, zip(*shapes, strict=True))), arrays[0].dtype)
    for padded, array in zip(stacked, arrays, strict=True):
        padded[tuple(map(slice, array.shape))] = array
    return stacked
