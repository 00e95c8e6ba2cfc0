"""Define an engine, one request's job for it, and the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from models.contract.arrays import Arrays
from service.inference.stacking import BatchArrays, RequestArrays
from service.timing.deadline import NEVER


class Engine(Protocol):
    """A model that can be run. Called from one thread at a time."""

    @property
    def provider(self) -> str:
        """Provider that it runs on: ``cpu`` or ``cuda``."""
        ...

    @property
    def largest_batch(self) -> int:
        """Most rows that one run may hold."""
        ...

    def run(self, batch: BatchArrays) -> Arrays:
        """Return outputs by name, batch first, for 1 to `largest_batch` rows."""
        ...

    def warm(self, batch: BatchArrays) -> None:
        """Run every shape that is served, made from one request (a batch of one)."""
        ...


class EngineError(RuntimeError):
    """The engine failed, or gave an impossible answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's outputs, without a batch axis, and the times of its run."""

    outputs: Arrays
    wait_seconds: float
    infer_seconds: float
    batch_size: int


@dataclass(slots=True, eq=False)
class Job:
    """One request's work for an engine.

    It is dropped before inference if `future` is done by then: the deadline came, or the client left. `deadline` is on
    `perf_counter`'s clock. Work in the `background` runs alone, and only when nothing else waits.
    """

    engine: Engine
    row: RequestArrays
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop
    deadline: float = NEVER
    background: bool = False
    started: bool = False
    submitted: float = field(default_factory=perf_counter)
