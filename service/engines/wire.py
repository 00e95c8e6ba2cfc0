"""Define the messages of workers and engine processes.

The worker greets, and the engine process welcomes it with the models that it runs. Then the worker sends jobs, each
with a number of its own, and gets an answer or a failure for each, in the order in which they are done; nothing for one
whose deadline has passed. Points in time are on `perf_counter`'s clock, which all processes of a host share.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, msgpack

from service.engines.packing import Packed

PROTOCOL: Final = 2
"""Version of this module's messages. An engine process may be newer than a worker that was started before an update."""


class Key(Struct, array_like=True, frozen=True):
    """Name a model beyond doubt: `digest` is that of its bundle's files."""

    name: str
    version: str
    digest: str


class Served(Struct, array_like=True, frozen=True):
    """One model that the process runs.

    Its place in the welcome is its number in jobs.
    """

    key: Key
    provider: str
    largest_batch: int


class Hello(Struct, tag=0, array_like=True, frozen=True):
    """The worker's first message."""

    protocol: int


class Run(Struct, tag=1, array_like=True, frozen=True):
    """Run the model of this number for one request."""

    id: int
    model: int
    deadline: float
    background: bool
    row: Packed


class Cancel(Struct, tag=2, array_like=True, frozen=True):
    """Drop a job, unless it runs already: its deadline came, or its client left."""

    id: int


class Welcome(Struct, tag=3, array_like=True, frozen=True):
    """The answer to a greeting of the right version."""

    protocol: int
    served: tuple[Served, ...]


class Refused(Struct, tag=4, array_like=True, frozen=True):
    """The answer to any other greeting; the connection ends."""

    reason: str


class Done(Struct, tag=5, array_like=True, frozen=True):
    """The outputs of one job."""

    id: int
    outputs: Packed


class Failed(Struct, tag=6, array_like=True, frozen=True):
    """One job has no outputs, and why."""

    id: int
    reason: str


class Ran(Struct, array_like=True, frozen=True):
    """One run of the model of this number (see `engine.Answer`)."""

    model: int
    started: float
    seconds: float
    batch_size: int


class Results(Struct, tag=7, array_like=True, frozen=True):
    """All that has been done since the last time, and the backlog.

    `ran` is the run that it was, unless that failed: a worker is told of it even if all its jobs came too late. At
    `free_at` all that waits will be done but for jobs in the background, and at `idle_at` those as well, of all
    workers; `seen` is the last job of this worker that is part of that.
    """

    results: list[Done | Failed]
    seen: int
    free_at: float
    idle_at: float
    ran: Ran | None = None


FromWorker = Hello | Run | Cancel
ToWorker = Welcome | Refused | Results
decode_worker: Final = msgpack.Decoder(FromWorker).decode
decode_engine: Final = msgpack.Decoder(ToWorker).decode
