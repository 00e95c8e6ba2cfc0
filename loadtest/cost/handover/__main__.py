"""Measure what it costs to hand jobs to an engine process instead of a thread.

One engine process, with a model that answers at once or after ``--run-ms``, and ``--links`` workers run as they do in
the service, without HTTP before them. A job's cost is its time less that of its run; it holds all that a job waits for
when others are in flight, and the check of their answers. Blocks through the engine process and through an inference
thread in the worker take turns, and ratios are of neighbours. Every answer is compared with its job.

``--kill`` kills the engine process or a worker every so often while jobs go to the engine process. Each must still be
answered with its own content or with an error, within 5 s. Jobs that fail do not count towards ``--count`` then, and
are sent again. Times under kills are not those of a service at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtest.cost.handover.crowd import Crowd, Plan
from loadtest.cost.handover.tally import Tally
from loadtest.cost.handover.worker_child import Order, Way
from loadtest.rig.machine import made_with
from loadtest.rig.server import ServerError
from loadtest.rig.statistics import PairedRatio
from loadtest.rig.subject import finite, markdown
from models.contract.manifest import DEMO_BUNDLE
from models.files import write_json
from service.engines.private import private_folder

HEAD: Final = (
    "jobs go to",
    "in flight",
    "jobs",
    "jobs a run",
    "p50 µs",
    "p99 µs",
    "p50 / the thread's (95%)",
    "p50 more by µs",
)
_CPU: Final = ("CPU µs a job: worker", "engine process")
_NAMES: Final[dict[Way, str]] = {"link": "the engine process", "thread": "a thread of the worker"}
_MOST_BLOCKS: Final = 100
_LEAST_OF_BLOCK: Final = 500
_PROGRESS_SECONDS: Final = 5.0


@dataclass
class Column:
    """All jobs of one way with so many in flight; `medians` are the blocks' p50.

    `cpu_seconds` are those of the workers and of the engine process; nothing is noted where processes are killed.
    """

    whole: Tally = field(default_factory=Tally)
    medians: list[float] = field(default_factory=list)
    cpu_seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def cpu_us(self) -> tuple[float, ...]:
        """Processor time of a job in µs, in a worker and in the engine process."""
        return tuple(seconds / max(1, self.whole.jobs) * 1e6 for seconds in self.cpu_seconds)


Columns = dict[tuple[Way, int], Column]


@dataclass
class Found:
    """All that was measured; memory is that after the first block and at the end."""

    columns: Columns
    seconds: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    memory_mib: list[dict[str, float]] = field(default_factory=list)
    row_bytes: int = 0

    @property
    def linked(self) -> Tally:
        """All jobs that went to the engine process."""
        return _sum(column.whole for (way, _), column in self.columns.items() if way == "link")

    @property
    def faults(self) -> list[str]:
        """Faults of all jobs: lost and foreign answers, and errors where nobody killed anything."""
        whole = _sum(column.whole for column in self.columns.values())
        found = [f"{n} {name}" for name in ("lost", "swapped", "wrong") if (n := getattr(whole, name))]
        return found + ([f"{whole.failed} failed"] if whole.failed and not self.kills else [])


def _sum(tallies: Iterator[Tally]) -> Tally:
    made = Tally()
    for tally in tallies:
        made.merge(tally)
    return made


async def measure(options: argparse.Namespace, path: Path) -> Found:
    """Start all, send, end all. Raises `ServerError`."""
    ways: tuple[Way, ...] = ("link",) if options.kill else ("link", "thread")
    found = Found({(way, n): Column() for n in options.in_flight for way in ways})
    plan = Plan(
        path, options.bundle, options.links, options.embedding_width, options.spoil, options.run_ms / 1e3, options.kill
    )
    sizes = _sizes(math.ceil(options.count / options.links / len(options.in_flight)))
    began = time.monotonic()
    async with Crowd(plan) as crowd:
        async with _beside(_follow(found, crowd, options.count)), contextlib.AsyncExitStack() as stack:
            if options.kill:
                await stack.enter_async_context(_beside(crowd.kill_on(random.Random(options.seed), options.every)))
            for block, size in enumerate(_as_long_as_it_takes(sizes, crowd, kill=options.kill)):
                for n in options.in_flight:
                    # Who comes first changes from block to block.
                    for way in ways if block % 2 else reversed(ways):
                        await _block(found.columns[way, n], crowd, Order(way, n, size), timed=not options.kill)
                if not block and not options.kill:
                    found.memory_mib.append(crowd.memory_mib())
        found.seconds, found.row_bytes = time.monotonic() - began, crowd.row_bytes
        found.kills = {str(kind): n for kind, n in crowd.kills.items()}
        if not options.kill:
            found.memory_mib.append(crowd.memory_mib())
    return found


def _as_long_as_it_takes(sizes: Sequence[int], crowd: Crowd, *, kill: bool) -> Iterator[int]:
    """Return the sizes of blocks; where there are kills, until each side has been killed."""
    yield from sizes
    while kill and len(crowd.kills) < 2:
        yield sizes[-1]


async def _block(column: Column, crowd: Crowd, order: Order, *, timed: bool) -> None:
    before = crowd.cpu_seconds() if timed else ()
    tally = await crowd.send(order, column.whole)
    if timed:
        spent = zip(column.cpu_seconds, crowd.cpu_seconds(), before, strict=True)
        workers, engine = (total + now - then for total, now, then in spent)
        column.cpu_seconds = workers, engine
    if tally.answered:
        column.medians.append(tally.times.quantile(0.5))


def _sizes(jobs: int) -> list[int]:
    """Cut the jobs of one worker into blocks of about the same size."""
    blocks = max(1, min(_MOST_BLOCKS, jobs // _LEAST_OF_BLOCK))
    marks = [jobs * i // blocks for i in range(blocks + 1)]
    return [b - a for a, b in itertools.pairwise(marks)]


@contextlib.asynccontextmanager
async def _beside(work: Any) -> Any:
    """Do work while the context lasts; if it fails, so does the context."""
    task, owner = asyncio.create_task(work), asyncio.current_task()
    assert owner is not None
    task.add_done_callback(lambda done: None if done.cancelled() else owner.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if task.done() and (error := task.exception()) is not None:
            raise error from None
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(found: Found, crowd: Crowd, count: int) -> None:
    """Print now and then how far it is."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        linked = found.linked
        rate = linked.settled / (time.monotonic() - began)
        kills = f", kills {dict(crowd.kills)}" if crowd.kills else ""
        far = f"{linked.settled} of {count} jobs without those that failed, {rate:.0f}/s"
        print(f"{far}: {_counts(linked)}{kills}", file=sys.stderr, flush=True)


def _counts(tally: Tally) -> str:
    return ", ".join(f"{n} {name}" for name, n in tally.counts().items())


def render(found: Found) -> str:
    """Return a table of costs, the counts and the verdict."""
    rows = [_row(way, n, column, found.columns.get(("thread", n))) for (way, n), column in found.columns.items()]
    lines = [markdown((*HEAD, *_CPU), rows), "", f"through the engine process: {_counts(found.linked)}"]
    if found.kills:
        lines.append(f"killed with SIGKILL: {', '.join(f'{kind} {n} times' for kind, n in found.kills.items())}")
    if found.memory_mib:
        lines.append(f"resident MiB after the first block, and at the end: {found.memory_mib}")
    return "\n".join([*lines, f"verdict: {', '.join(found.faults) or 'every job got its own answer or an error'}"])


def _row(way: Way, in_flight: int, column: Column, thread: Column | None) -> tuple[object, ...]:
    whole = column.whole
    times = [f"{whole.times.quantile(q) * 1e6:.0f}" for q in (0.5, 0.99)] if whole.answered else ["–", "–"]
    ratio = more = "–"
    if thread is not None and way == "link" and len(thread.medians) == len(column.medians) > 0:
        ratio = str(PairedRatio.of(thread.medians, column.medians))
        more = f"{(whole.times.quantile(0.5) - thread.whole.times.quantile(0.5)) * 1e6:.0f}"
    cpu = [f"{spent:.0f}" if spent else "–" for spent in column.cpu_us]
    together = f"{whole.answered / whole.runs:.0f}" if whole.runs else "–"
    return (_NAMES[way], in_flight, whole.jobs, together, *times, ratio, more, *cpu)


def figures(found: Found) -> dict[str, Any]:
    """Return all figures as plain JSON types."""
    rows = []
    for (way, n), column in found.columns.items():
        times = column.whole.times
        quantiles = (
            {f"p{q * 100:g}_us": times.quantile(q) * 1e6 for q in (0.5, 0.9, 0.99, 0.999)} if times.count else {}
        )
        medians = [median * 1e6 for median in column.medians]
        spent = {"cpu_us": column.cpu_us, "block_p50_us": medians}
        rows.append(
            {"way": way, "in_flight": n, **column.whole.counts(), "runs": column.whole.runs, **quantiles, **spent}
        )
    rest = {"seconds": found.seconds, "kills": found.kills, "memory_mib": found.memory_mib}
    return {"rows": rows, **rest, "row_bytes": found.row_bytes, "faults": found.faults}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; exit with 1 for a fault that they show, 2 without figures."""
    parser = argparse.ArgumentParser("python -m loadtest.cost.handover", description=__doc__)
    add = parser.add_argument
    add("--count", type=int, default=100_000, help="jobs through the engine process, all together (100000)")
    add("--links", type=int, default=2, help="workers, each with a link to it (2)")
    add("--in-flight", type=int, nargs="+", default=[1, 16], help="jobs in flight from each worker (1 16)")
    add("--kill", action="store_true", help="kill the engine process or a worker now and then")
    add("--every", type=float, default=10.0, metavar="SECONDS", help="mean time between kills (10)")
    add("--run-ms", type=float, default=0.0, help="time that a run waits for, as for a device (0)")
    add("--bundle", type=Path, default=DEMO_BUNDLE, help="bundle whose arrays are sent (the embedded one)")
    add(
        "--embedding-width", type=int, default=50, help="width of embeddings: 50 makes 10 KB of the embedded one's (50)"
    )
    add("--spoil", type=int, default=0, metavar="N", help="swap an answer in N runs, to see that it is found (0: none)")
    add("--seed", type=int, default=0, help="seed of the kills (0)")
    add("--out", type=Path, metavar="FILE", help="write the figures here as JSON too")
    options = parser.parse_args(argv)
    if min(options.count, options.links, *options.in_flight) < 1 or options.every <= 0 or options.run_ms < 0:
        parser.error("--count, --links, --in-flight and --every: must be positive, and --run-ms not negative")
    try:
        with private_folder() as folder:
            found = asyncio.run(measure(options, folder / "engine-0-0.sock"))
    except (ServerError, OSError) as error:
        parser.exit(2, f"loadtest.cost.handover: {error}\n")
    except ExceptionGroup as group:
        parser.exit(2, f"loadtest.cost.handover: {group.exceptions[0]}\n")
    print(render(found))
    if options.out:
        write_json(options.out, finite({**made_with(options.seed), **figures(found)}))
    return 1 if found.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
