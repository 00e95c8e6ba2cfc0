"""Make a batch of jobs, run it, and give its outputs to them.

In a service's own process requests and answers are arrays. In an engine process they are the bytes of messages, and
`BatchForm` is where the two differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from models.contract.arrays import AnyArray, Arrays
from service.inference.engine import Answer, BatchArrays, Engine, EngineError, Job, RequestArrays, stack_rows


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """Hold a batch's jobs and its outputs, or why there are none.

    Its run began at `started` on `perf_counter`'s clock, and took `seconds`.
    """

    jobs: Sequence[Job]
    outcome: Mapping[str, AnyArray] | EngineError
    started: float
    seconds: float


class BatchForm(Protocol):
    """Hold requests and answers in one form."""

    def stack(self, rows: Sequence[RequestArrays]) -> BatchArrays:
        """Stack the rows of a batch, at least one; called on the inference thread."""

    def deliver(self, run: FinishedRun) -> None:
        """Give every job its answer; called on the event loop."""


class ArrayForm:
    """Hold requests and answers as arrays; every job waits by an `asyncio.Future`."""

    def stack(self, rows: Sequence[RequestArrays]) -> BatchArrays:
        """Stack the arrays of all rows."""
        return stack_rows(rows)

    def deliver(self, run: FinishedRun) -> None:
        """Give every job its row of the outputs."""
        for i, job in enumerate(run.jobs):
            if job.future.done():
                continue
            if isinstance(run.outcome, EngineError):
                job.future.set_exception(run.outcome)
            else:
                outputs = {name: array[i] for name, array in run.outcome.items()}
                waited, future = run.started - job.submitted, cast("asyncio.Future[Answer]", job.future)
                future.set_result(Answer(outputs, waited, run.seconds, len(run.jobs), run.started))


def run_batch(engine: Engine, jobs: Sequence[Job], form: BatchForm) -> Arrays | EngineError:
    """Run a batch, and check that every output is an array with its rows."""
    try:
        outputs = engine.run(form.stack([job.row for job in jobs]))
        # What is no array has no shape; it is a fault of the engine like any other, and may not end this thread.
        wrong = {name: array.shape for name, array in outputs.items() if array.shape[:1] != (len(jobs),)}
    except Exception as error:
        failure = EngineError(f"inference failed: {error}")
        failure.__cause__ = error
        return failure
    for name, shape in wrong.items():
        return EngineError(f"{len(jobs)} requests were run, but {name} came back with shape {list(shape)}")
    return outputs
