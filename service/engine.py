"""The inference thread: one per device, for all models on it.

Work goes in through a `SimpleQueue` and results come back with `call_soon_threadsafe`; an executor would cost 0.4 ms
more per request. ONNX Runtime releases the GIL while it runs. Knows nothing about requests, bundles or batching.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[np.generic]]
"""Named arrays; the first axis of each is the batch."""


class Engine(Protocol):
    """A model that can be run. Called from one thread at a time."""

    @property
    def provider(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        ...

    def run(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """Named outputs, batch first."""
        ...


class EngineError(RuntimeError):
    """The engine failed, or answered what no engine may."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run gave, how long it stood in the queue, and how long it took."""

    outputs: dict[str, NDArray[np.generic]]
    wait_seconds: float
    infer_seconds: float


@dataclass(slots=True)
class _Job:
    engine: Engine
    batch: Batch
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Result]
    submitted: float = field(default_factory=perf_counter)


class InferenceThread:
    """Runs batches in the order of arrival."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Batches that wait."""
        return self._jobs.qsize()

    async def submit(self, engine: Engine, batch: Batch) -> Result:
        """Run `batch` and wait for it. Raises `EngineError` if the engine fails."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(_Job(engine, batch, loop, future))
        return await future

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            outcome = _run(job)
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                job.loop.call_soon_threadsafe(_deliver, job.future, outcome)
            del job, outcome  # Else the last batch would stay in memory until the next one.


def _run(job: _Job) -> Result | EngineError:
    started = perf_counter()
    try:
        outputs = job.engine.run(job.batch)
    except Exception as error:
        failure = EngineError(f"inference failed: {error}")
        failure.__cause__ = error
        return failure
    return Result(outputs, started - job.submitted, perf_counter() - started)


def _deliver(future: asyncio.Future[Any], outcome: Result | EngineError) -> None:
    if future.cancelled():
        return
    if isinstance(outcome, EngineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
