"""Be a worker that sends jobs to the engine process or to its own thread.

Started by `crowd.py` only. Each line of standard input is an `Order`; it prints reports of what came of it. A
report tells the age of its oldest open job too, since whoever kills a worker would not hear of that job otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final, Literal

from loadtest.cost.handover.content import KEY, EchoEngine, Rows
from loadtest.cost.handover.tally import Tally
from models.contract.manifest import Manifest
from service.engines.link import EngineLink
from service.engines.remote import RemoteEngine
from service.inference.engine import Answer, Engine, EngineError, Job, JobQueue
from service.inference.thread import InferenceThread
from service.telemetry.pacing import spare_what_is_loaded
from service.transport.sockets import loop_factory

Way = Literal["link", "thread"]
"""To the engine process, or to a thread of this process."""

_REPORT_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 0.05
"""Pause after an error, since without an engine process they come at once."""


class _Lost(Exception):
    """A job that nobody answers."""


@dataclass
class Order:
    """So many jobs by one way, some of them in flight together."""

    way: Way
    in_flight: int
    jobs: int


class Sender:
    """Send jobs by both ways and check their answers. Used from the event loop only.

    A job that has got neither an answer nor an error after `lost_seconds` is lost.
    """

    def __init__(self, rows: Rows, ways: dict[Way, tuple[JobQueue, Engine]], lost_seconds: float) -> None:
        self._rows = rows
        self._ways = ways
        self._lost_seconds = lost_seconds
        self._number = 0
        self._left = 0
        self._open: set[Job] = set()
        self._tally = Tally()

    async def carry_out(self, order: Order) -> None:
        """Send all jobs of an order; print now and then what came of them."""
        self._left = order.jobs
        queue, engine = self._ways[order.way]
        reporting = asyncio.create_task(self._report_on())
        await asyncio.gather(*(self._send(queue, engine) for _ in range(order.in_flight)))
        reporting.cancel()
        self._report(last=True)

    async def _send(self, queue: JobQueue, engine: Engine) -> None:
        """Send one job after the other while there are any."""
        loop = asyncio.get_running_loop()
        while self._left:
            self._left -= 1
            number, self._number = self._number, self._number + 1
            future: asyncio.Future[Answer] = loop.create_future()
            job = Job(engine, self._rows.make(number), future, loop)
            self._open.add(job)
            queue.submit(job)
            try:
                answer = await future
            except EngineError:
                self._tally.failed += 1
                await asyncio.sleep(_PAUSE_SECONDS)
            except _Lost:
                self._tally.lost += 1
            else:
                took = perf_counter() - job.submitted - answer.infer_seconds
                problem = self._rows.problem(number, answer.outputs)
                if problem is None:
                    self._tally.answered += 1
                    self._tally.times.add(took)
                    self._tally.runs += 1 / answer.batch_size
                else:
                    setattr(self._tally, problem, getattr(self._tally, problem) + 1)
            self._open.discard(job)
            if self._tally.bad:  # At once: a worker that is killed tells nothing more.
                self._report()

    async def _report_on(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self._report()
            late = perf_counter() - self._lost_seconds
            for job in self._open:
                if job.submitted < late and not job.future.done():
                    job.future.set_exception(_Lost())

    def _report(self, *, last: bool = False) -> None:
        """Print what is new since the last time."""
        tally, self._tally = self._tally, Tally()
        oldest = max((perf_counter() - job.submitted for job in self._open), default=None)
        print(json.dumps({"last": last, "tally": tally.to_json(), "oldest": oldest}), flush=True)


async def _connected(link: EngineLink, path: Path) -> RemoteEngine:
    """Return the model of the engine process, once that listens."""
    while True:
        await link.open(path)
        link.use(path)
        try:
            return link.engine(path, KEY.name, KEY.version, KEY.digest)
        except EngineError:  # It was killed at this very moment.
            await asyncio.sleep(_PAUSE_SECONDS)


async def work(path: Path, own: EchoEngine, rows: Rows, lost_seconds: float) -> None:
    """Carry out orders until standard input ends; print a line once it can."""
    link, thread = EngineLink(), InferenceThread()
    remote = await _connected(link, path)
    sender = Sender(rows, {"link": (link, remote), "thread": (thread, own)}, lost_seconds)
    spare_what_is_loaded()
    print(json.dumps({"row_bytes": rows.row_bytes}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await sender.carry_out(Order(**json.loads(line)))


def main() -> None:
    """Work, and end without waiting for anybody."""
    path, bundle, asker, width, lost_seconds, run_seconds = sys.argv[1:]
    rows, own = (
        Rows(Manifest.read(Path(bundle)), int(asker), width=int(width)),
        EchoEngine(run_seconds=float(run_seconds)),
    )
    logging.getLogger("service").setLevel(logging.ERROR)  # Whoever kills engine processes knows that they have gone.
    with asyncio.Runner(loop_factory=loop_factory()) as runner, contextlib.suppress(BrokenPipeError):
        runner.run(work(Path(path), own, rows, float(lost_seconds)))
    os._exit(0)


if __name__ == "__main__":
    main()
