"""Run one engine process and its workers, and kill one now and then.

A killed process is replaced as the supervisor does it: the engine process at the same path, a worker as a new one. What
a worker has not told when it is killed counts as never sent, and is sent again by the next; but its oldest open job is
lost if that was older than any may be. Jobs that failed are sent again too where processes are killed, or what is asked
for would be used up while no engine process is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, Literal

import psutil

from loadtest.cost.handover.tally import Tally
from loadtest.cost.handover.worker_child import Order
from loadtest.rig.server import START_TIMEOUT, ServerError

Kind = Literal["engine", "worker"]
LOST_SECONDS: Final = 20.0
LOST_UNDER_KILLS: Final = 5.0
"""A job is lost that has got nothing after so long: less than the time between kills, or it would not be seen."""

_SILENT_SECONDS: Final = LOST_SECONDS + START_TIMEOUT
_MOST_STARTS: Final = 5
_LINE_BYTES: Final = 1 << 20


class Ended(Exception):
    """A process that has ended instead of answering."""


class Child:
    """One process that reads orders and prints lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.first: dict[str, Any] = {}
        """Its first line, which says that it is ready."""

    @classmethod
    async def start(cls, kind: Kind, *arguments: object) -> Child:
        """Start one, and wait until it is ready. Raises `Ended`."""
        module = f"loadtest.cost.handover.{kind}_child"
        command = (sys.executable, "-m", module, *map(str, arguments))
        child = cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES))
        try:
            child.first = await child.line()
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, order: Order) -> None:
        """Give it an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")

    async def line(self) -> dict[str, Any]:
        """Return its next line. Raises `Ended`, and `ServerError` if there is none for long."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ServerError(f"process {self.pid} has said nothing for {_SILENT_SECONDS:g} s") from None
        if not line.endswith(b"\n"):
            raise Ended
        return dict(json.loads(line))

    def kill(self) -> None:
        """Kill it; it may have ended already."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        await self._process.wait()


@dataclass(frozen=True, slots=True)
class Plan:
    """Processes to start: so many `links`, each a worker, to one engine process at `path`.

    `spoil` lets that swap an answer in so many runs, each of which waits for `run_seconds`, and `may_end` says whether
    processes are killed on purpose.
    """

    path: Path
    bundle: Path
    links: int
    width: int
    spoil: int = 0
    run_seconds: float = 0.0
    may_end: bool = False

    @property
    def lost_seconds(self) -> float:
        """Return the age from which a job without an answer or an error is lost."""
        return LOST_UNDER_KILLS if self.may_end else LOST_SECONDS


@dataclass
class Heard:
    """Keep what one worker told last: the age of its `oldest` open job, and when.

    Times are on `time.monotonic`'s clock.
    """

    oldest: float | None = None
    at: float = field(default_factory=time.monotonic)
    settled_at: float = field(default_factory=time.monotonic)

    def note(self, oldest: float | None, *, settled: bool) -> None:
        """Note a report. Raises `ServerError` if jobs have done nothing but fail for long."""
        self.oldest, self.at = oldest, time.monotonic()
        if settled:
            self.settled_at = self.at
        if self.at - self.settled_at > _SILENT_SECONDS:
            raise ServerError(f"all jobs of a worker have failed for {_SILENT_SECONDS:g} s")

    def age(self) -> float:
        """Return how old that job is now if nobody answered it; 0 without one."""
        return 0.0 if self.oldest is None else self.oldest + time.monotonic() - self.at


class Crowd:
    """Keep all processes of a plan running while the context lasts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._askers = itertools.count()
        self._workers: list[Child] = []
        self._engine: Child | None = None
        self.kills: Counter[Kind] = Counter()
        self.row_bytes = 0

    async def __aenter__(self) -> Crowd:
        try:
            self._engine = await self._start("engine")
            for _ in range(self._plan.links):
                self._workers.append(await self._start("worker"))
        except BaseException:
            await self.__aexit__()
            raise
        self.row_bytes = self._workers[0].first["row_bytes"]
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in reversed(self._children()):
            await child.end()

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory of the engine process, and of the largest worker."""
        engine, *workers = (psutil.Process(child.pid).memory_info().rss / 2**20 for child in self._children())
        return {"engine": round(engine, 1), "worker": round(max(workers), 1)}

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time of all workers so far, and of the engine process."""
        engine, *workers = (sum(psutil.Process(child.pid).cpu_times()[:2]) for child in self._children())
        return sum(workers), engine

    async def send(self, order: Order, told: Tally) -> Tally:
        """Let every worker carry out an order, and return what came of all. Raises `ServerError`.

        What is heard meanwhile is added to `told` at once.
        """
        made = Tally()
        async with asyncio.TaskGroup() as group:
            for slot in range(len(self._workers)):
                group.create_task(self._send(slot, order, (made, told)))
        return made

    async def _send(self, slot: int, order: Order, tallies: Sequence[Tally]) -> None:
        """Let the worker in this place, and whoever follows it there, carry out an order."""
        left, heard = order.jobs, Heard()
        while left > 0:
            worker = self._workers[slot]
            try:
                heard.oldest, last = None, False
                worker.tell(Order(order.way, order.in_flight, left))
                while not last:
                    report = await worker.line()
                    last, tally = report["last"], Tally.from_json(report["tally"])
                    left -= tally.settled if self._plan.may_end else tally.jobs
                    heard.note(report["oldest"], settled=tally.settled > 0)
                    _add(tally, tallies)
            except (Ended, ConnectionError):
                if not self._plan.may_end:
                    raise ServerError("a worker has ended though nobody killed it") from None
                if heard.age() > self._plan.lost_seconds:
                    left -= 1
                    _add(Tally(lost=1), tallies)
                await worker.end()
                self._workers[slot] = await self._start("worker")

    async def kill_on(self, rng: random.Random, mean_seconds: float) -> None:
        """Kill either side at random, for ever; the engine process is replaced here."""
        while True:
            await asyncio.sleep(rng.uniform(0.5, 1.5) * mean_seconds)
            kind: Kind = rng.choice(("engine", "worker"))
            self.kills[kind] += 1
            if kind == "worker":
                rng.choice(self._workers).kill()
                continue
            assert self._engine is not None
            await self._engine.end()
            self._engine = await self._start("engine")

    async def _start(self, kind: Kind) -> Child:
        """Start a process. Raises `ServerError` for one that ends by itself."""
        plan = self._plan
        for _ in range(_MOST_STARTS if self.kills else 1):  # One that has just started may be killed, too.
            with contextlib.suppress(Ended):
                if kind == "engine":
                    return await Child.start(kind, plan.path, plan.spoil, plan.run_seconds)
                return await Child.start(
                    kind, plan.path, plan.bundle, next(self._askers), plan.width, plan.lost_seconds, plan.run_seconds
                )
        raise ServerError(f"a {kind} has ended before it was ready")

    def _children(self) -> list[Child]:
        return [*([self._engine] if self._engine else []), *self._workers]


def _add(tally: Tally, tallies: Sequence[Tally]) -> None:
    for one in tallies:
        one.merge(tally)
