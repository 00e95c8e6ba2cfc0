"""Measure how long a scrape holds up the event loop.

That is the longest pause of a ticker of 1 ms while the scrape is answered.
The service's own metrics have so many versions of a bundle, half of them retired, each with one request in every
outcome. *One process* renders them itself. Of *two workers*, each sends its counts to the supervisor, which merges and
renders them and sends the text to the worker that was asked.

A pause is given in CPU time of the process, all its threads together, between two ticks: the most that the scrape can
have held up the loop. By the clock it is longer on a busy machine, whatever the process does, so the pauses of as many
stretches without a scrape stand beside those. Nothing is loaded: of the bundle only `bundle.json` is read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import uvloop

from loadtest.rig.server import ServerError
from loadtest.rig.subject import markdown
from models.contract.features import Encoder
from models.contract.manifest import Manifest
from service.bundles.model import Model
from service.contract.problems import Problem
from service.telemetry.exposition import Exposition, SharedExposition
from service.telemetry.metrics import Metrics
from service.telemetry.pacing import spare_what_is_loaded
from service.telemetry.records import OUTCOMES, STAGES, RequestRecord
from service.workers import messages
from service.workers.gathering import Gatherer, SupervisorMetrics
from service.workers.handle import WorkerProcess
from service.workers.reporting import Reporter
from service.workers.supervisor_client import SupervisorClient

LIMIT_MS: Final = 20.0
"""The longest that a scrape may hold up a loop."""

_TICK_SECONDS: Final = 0.001
_WORKERS: Final = 2
_BUDGET_SECONDS: Final = 0.019


@dataclass(frozen=True)
class Longest:
    """The longest pause of one scrape, or of as long a time without, in milliseconds."""

    cpu: float = 0.0
    clock: float = 0.0


@dataclass(frozen=True)
class Pauses:
    """Give medians over scrapes of the longest pause in each, in milliseconds.

    `cpu` is CPU time, of which `cpu_longest` is the longest of all. `answer` is the time until the text is there.
    """

    loop: str
    scrapes: int
    samples: int
    answer: float
    cpu: float
    cpu_longest: float
    clock: float
    clock_idle: float

    @classmethod
    def of(
        cls, loop: str, samples: int, answers: Sequence[float], pauses: Sequence[Longest], idle: Sequence[Longest]
    ) -> Pauses:
        """Take the medians."""
        figures = (
            statistics.median(answers),
            statistics.median(pause.cpu for pause in pauses),
            max(pause.cpu for pause in pauses),
            statistics.median(pause.clock for pause in pauses),
            statistics.median(pause.clock for pause in idle),
        )
        return cls(loop, len(pauses), samples, *(round(figure, 2) for figure in figures))


class Ticker:
    """Follow the pauses of the loop that it runs in."""

    def __init__(self) -> None:
        self._longest = Longest()
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            clock, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(_TICK_SECONDS)
            late = 1e3 * (time.perf_counter() - clock - _TICK_SECONDS)
            used = 1e3 * (time.process_time() - cpu)
            self._longest = Longest(max(self._longest.cpu, used), max(self._longest.clock, late))

    async def during(self, work: Callable[[], Awaitable[Any]]) -> Longest:
        """Return the longest pause while `work` is done."""
        await asyncio.sleep(5 * _TICK_SECONDS)
        self._longest = Longest()
        await work()
        await asyncio.sleep(2 * _TICK_SECONDS)
        return self._longest

    def stop(self) -> None:
        """Tick no more."""
        self._task.cancel()


def fill(metrics: Metrics, manifest: Manifest, versions: int) -> None:
    """Let so many versions go live, each with requests, and retire half of them."""
    engine: Any = SimpleNamespace(provider="cpu")
    for number in range(versions):
        model = Model(replace(manifest, version=str(number)), Encoder(manifest.spec), engine)
        metrics.model_loaded(model)
        for outcome in OUTCOMES:
            reason = "overloaded" if outcome == "rejected" else None
            stages = dict.fromkeys(STAGES, 0.001)
            metrics.observe(
                RequestRecord("", None, outcome, 200, 0.01, reason, model.name, model.version, stages, 100, 1, None)
            )
        if number % 2:
            metrics.model_retired(model)


async def one_process(manifest: Manifest, versions: int, scrapes: int) -> list[Pauses]:
    """Measure the loop of a process that renders its own metrics."""
    spare_what_is_loaded()
    metrics = Metrics(budget_seconds=_BUDGET_SECONDS, exposition=Exposition())
    fill(metrics, manifest, versions)
    return [await _measure("one process", lambda: metrics.respond(""), scrapes)]


async def _measure(loop: str, scrape: Callable[[], Awaitable[Any]], scrapes: int) -> Pauses:
    ticker = Ticker()
    answers, pauses, idle = list[float](), list[Longest](), list[Longest]()
    text = (await scrape()).body.decode()
    for _ in range(scrapes):
        began = time.perf_counter()
        pauses.append(await ticker.during(scrape))
        took = time.perf_counter() - began
        answers.append(took * 1e3)
        idle.append(await ticker.during(lambda took=took: asyncio.sleep(took)))  # type: ignore[misc]
    ticker.stop()
    samples = sum(1 for line in text.splitlines() if not line.startswith("#"))
    return Pauses.of(loop, samples, answers, pauses, idle)


async def two_workers(bundle: Path, versions: int, scrapes: int) -> list[Pauses]:
    """Measure the loops of a worker that is asked, and of the supervisor of two."""
    gatherer = Gatherer(SupervisorMetrics(lambda: _WORKERS, _WORKERS), list)
    found: list[Pauses] = []
    async with contextlib.AsyncExitStack() as stack:
        for scrapes_of in (*[0] * (_WORKERS - 1), scrapes):  # The one that asks starts last.
            stdout = await _start(stack, gatherer, [str(bundle), str(versions), str(scrapes_of)])
        spare_what_is_loaded()
        ticker = Ticker()
        pauses = list[Longest]()
        while not found:
            pauses.append(await ticker.during(lambda: _line(stdout, found)))
        ticker.stop()
    worker = found[0]
    supervisor = Pauses.of("supervisor of two", worker.samples, [worker.answer], pauses[1:], [Longest()])
    return [worker, replace(supervisor, clock_idle=worker.clock_idle)]


async def _line(stdout: asyncio.StreamReader, found: list[Pauses]) -> None:
    """Wait until the worker has been answered once more, or has its figures."""
    line = await stdout.readline()
    if not line:
        raise ServerError("a worker has ended before it had its figures")
    if figures := json.loads(line):
        found.append(Pauses(**figures))


async def _start(
    stack: contextlib.AsyncExitStack, gatherer: Gatherer, arguments: Sequence[str]
) -> asyncio.StreamReader:
    """Start a worker that ends with the stack; return what it prints."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest.cost.scrape", "--worker", str(theirs.fileno()), *arguments),
            stdout=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
    channel = await messages.Channel.open(ours, msgspec.json.Decoder(messages.Message))
    worker = WorkerProcess("worker", 0, process, channel, hear=gatherer.hear, end_seconds=10)
    stack.push_async_callback(worker.wait)
    stack.callback(worker.terminate)
    gatherer.enter(worker)
    await worker.started()
    assert process.stdout is not None
    return process.stdout


async def work(control: socket.socket, bundle: Path, versions: int, scrapes: int) -> None:
    """Report as a worker does, and ask for so many scrapes.

    Prints a line after each, and the figures at the end.
    """
    decoder: msgspec.json.Decoder[messages.NumberedCommand] = msgspec.json.Decoder(messages.NumberedCommand)
    channel = await messages.Channel.open(control, decoder)
    client = SupervisorClient(channel, 1)
    exposition = SharedExposition(client.scrape, client.windows)
    spare_what_is_loaded()
    metrics = Metrics(budget_seconds=_BUDGET_SECONDS, exposition=exposition)
    fill(metrics, Manifest.read(bundle), versions)

    async def scrape() -> Any:
        try:
            answer = await metrics.respond("")
        except Problem as problem:
            raise SystemExit(f"a scrape was not answered: {problem.detail}") from None
        print("{}", flush=True)
        return answer

    async def measure() -> None:
        found = await _measure("one of two workers", scrape, scrapes)
        print(json.dumps(asdict(found)), flush=True)

    with Reporter.open(channel, metrics, exposition) as reporter:
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Any]] = [group.create_task(reporter.beat())]
            tasks += [group.create_task(measure())] if scrapes else []
            while (order := await channel.receive()) is not None:
                if isinstance(order.command, messages.Measure):
                    await reporter.report()
                    channel.send(messages.Done(order.id))
                elif isinstance(order.command, messages.Scraped):
                    client.take(order.command)
            for task in tasks:
                task.cancel()


def render(rows: Sequence[Pauses]) -> str:
    """Return a table of all loops, and whether the limit holds."""
    head = (
        "loop",
        "scrapes",
        "samples",
        "answer ms",
        "pause, CPU ms",
        "longest",
        "by the clock ms",
        "without a scrape",
    )
    table = markdown(head, [tuple(asdict(row).values()) for row in rows])
    over = [row.loop for row in rows if row.cpu >= LIMIT_MS]
    verdict = (
        f"{', '.join(over)}: not under {LIMIT_MS:g} ms of CPU" if over else f"all are under {LIMIT_MS:g} ms of CPU"
    )
    return f"{table}\n\nverdict: {verdict}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; the exit status is 1 over the limit."""
    parser = argparse.ArgumentParser("python -m loadtest.cost.scrape", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of one version; its fields make series")
    parser.add_argument("--versions", type=int, default=20, help="live and retired ones together (20)")
    parser.add_argument("--scrapes", type=int, default=30, help="scrapes of one process, and of two workers (30)")
    options = parser.parse_args(argv)
    manifest = Manifest.read(options.bundle)
    try:
        rows = uvloop.run(one_process(manifest, options.versions, options.scrapes))
        rows += uvloop.run(two_workers(options.bundle, options.versions, options.scrapes))
    except ServerError as error:
        parser.exit(2, f"{error}\n")
    print(render(rows))
    return int(any(row.cpu >= LIMIT_MS for row in rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        descriptor, folder, count, asks = sys.argv[2:]
        uvloop.run(work(socket.socket(fileno=int(descriptor)), Path(folder), int(count), int(asks)))
    else:
        raise SystemExit(main())
