"""Measure the memory of a service's processes: at rest, in reloads, and under load.

``python -m loadtest.cost.memory --serve-options "--workers 4 --engine-processes 1"``. Memory is the proportional set
size, in which a page that several processes share counts once for all of them together. A bundle is loaded again some
times, first without requests and then under a closed loop; the child is the process that tries it. A service of one
process stands in the column of the supervisor. What a process holds of a GPU is not in these figures.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import psutil

from loadtest.rig.contender import Endpoint
from loadtest.rig.openloop.client import Load, running
from loadtest.rig.server import UNHURRIED, Server, ServerError
from loadtest.rig.subject import Measured, Subject, command_parser, markdown, run_command, subject_from
from models.contract.manifest import Manifest

KINDS: Final[Mapping[str, str]] = {
    "service.workers.worker": "worker",
    "service.workers.engine": "engine process",
    "serve": "supervisor",
}
"""By a word of the command line; the first that is there counts."""

OTHER: Final = "child that tries a bundle"
HEAD: Final = ("MiB", "supervisor", "a worker", "an engine process", "the child", "engine processes", "all together")
_ORDER: Final = ("supervisor", "worker", "engine process", OTHER)
_START_SECONDS: Final = 600.0
_REST_SECONDS: Final = 2.0
_LOAD_SECONDS: Final = 600.0
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """Hold the memory of every process at one moment, in MiB, by its kind."""

    sizes: Mapping[str, Sequence[float]]

    @property
    def total(self) -> float:
        """Return the memory of all together."""
        return sum(sum(sizes) for sizes in self.sizes.values())


@dataclass(frozen=True, slots=True)
class Stage:
    """Hold the most that one stage showed, by kind of process and in all."""

    name: str
    largest: Mapping[str, float]
    engines: int
    total: float

    @classmethod
    def of(cls, name: str, looks: Sequence[Look]) -> Stage:
        """Take the largest. Raises `ServerError` if nothing was seen."""
        if not looks:
            raise ServerError(f"{name}: no process was seen")
        largest = {
            kind: max((max(look.sizes[kind]) for look in looks if kind in look.sizes), default=0.0) for kind in _ORDER
        }
        engines = max(len(look.sizes.get("engine process", ())) for look in looks)
        return cls(name, largest, engines, max(look.total for look in looks))

    def row(self) -> tuple[str, ...]:
        """Return the row of the table; what was not there is a dash."""
        cells = (f"{self.largest[kind]:.0f}" if self.largest[kind] else "–" for kind in _ORDER)
        return (self.name, *cells, str(self.engines or "–"), f"{self.total:.0f}")


def look(endpoint: Endpoint) -> Look:
    """Read the memory of all processes that live."""
    sizes: dict[str, list[float]] = {}
    for process in endpoint.processes():
        with contextlib.suppress(psutil.Error):
            sizes.setdefault(kind_of(process.cmdline()), []).append(process.memory_full_info().pss / _MIB)
    return Look(sizes)


def kind_of(command: Sequence[str]) -> str:
    """Return the kind of a process by its command line."""
    return next((kind for word, kind in KINDS.items() if word in command), OTHER)


@contextlib.contextmanager
def watched(endpoint: Endpoint, seconds: float) -> Iterator[list[Look]]:
    """Look every so many seconds while the context lasts, from a thread."""
    looks, stop = list[Look](), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            looks.append(look(endpoint))
            stop.wait(seconds)

    thread = threading.Thread(target=watch, name="memory")
    thread.start()
    try:
        yield looks
    finally:
        stop.set()
        thread.join()


def stages(
    subject: Subject, server: Server, endpoint: Endpoint, *, reloads: int, in_flight: int, every: float
) -> Iterator[Stage]:
    """Measure each stage; without requests `in_flight` those under load are left out.

    Raises `ServerError` if a reload fails.
    """
    manifest = Manifest.read(subject.bundle)

    def reloaded(name: str) -> Stage:
        with watched(endpoint, every) as looks:
            for _ in range(reloads):
                server.reload(manifest.name, manifest.version)
        return Stage.of(name, looks)

    def rested(name: str) -> Stage:
        time.sleep(_REST_SECONDS)
        return Stage.of(name, [look(endpoint)])

    yield rested("at rest")
    yield reloaded("reloads")
    if in_flight:
        load = Load(seconds=_LOAD_SECONDS, connections=in_flight, cpu=subject.client_cpu)
        with running(server.port, subject.messages(endpoint), load):
            time.sleep(_REST_SECONDS)
            yield reloaded("reloads under load")
    yield rested("at rest after them")


def measure(options: argparse.Namespace) -> Measured:
    """Serve, and measure."""
    subject = subject_from(options)
    with subject.running(defaults=UNHURRIED, start_seconds=_START_SECONDS) as (server, endpoint):
        found = list(
            stages(
                subject,
                server,
                endpoint,
                reloads=options.reloads,
                in_flight=options.in_flight,
                every=options.every_ms / 1e3,
            )
        )
    return markdown(HEAD, [stage.row() for stage in found]), {"stages": [asdict(stage) for stage in found]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of the stages."""
    parser = command_parser("loadtest.cost.memory", __doc__)
    parser.add_argument("--reloads", type=int, default=3, help="reloads in each stage that has any (3)")
    parser.add_argument("--in-flight", type=int, default=64, help="requests in flight under load (64; 0: no load)")
    parser.add_argument("--every-ms", type=float, default=50.0, help="milliseconds between two looks (50)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
