"""Run one engine process and its workers, and kill one now and then.

A killed process is replaced as the supervisor does it: the engine process at the same path, a worker as a new one. What
a worker has not told when it is killed counts as never sent, and is sent again by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, Literal

import psutil

from loadtest.cost.handover.tally import Tally
from loadtest.cost.handover.worker_child import LOST_SECONDS, Order
from loadtest.rig.server import START_TIMEOUT, ServerError

Kind = Literal["engine", "worker"]
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

    `spoil` lets that swap an answer in so many runs, and `may_end` says whether processes are killed on purpose.
    """

    path: Path
    bundle: Path
    links: int
    width: int
    spoil: int = 0
    may_end: bool = False


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
        left = order.jobs
        while left > 0:
            try:
                self._workers[slot].tell(Order(order.way, order.in_flight, left))
                last = False
                while not last:
                    report = await self._workers[slot].line()
                    last, tally = report["last"], Tally.from_json(report["tally"])
                    left -= tally.jobs
                    for one in tallies:
                        one.merge(tally)
            except (Ended, ConnectionError):
                if not self._plan.may_end:
                    raise ServerError("a worker has ended though nobody killed it") from None
                await self._workers[slot].end()
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
                    return await Child.start(kind, plan.path, plan.spoil)
                return await Child.start(kind, plan.path, plan.bundle, next(self._askers), plan.width)
        raise ServerError(f"a {kind} has ended before it was ready")

    def _children(self) -> list[Child]:
        return [*([self._engine] if self._engine else []), *self._workers]
