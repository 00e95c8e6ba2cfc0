"""Serve with a sleeping engine in each layout of processes, and load what is served."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import psutil

from loadtest.cost.engine_processes.contents import Contents, Expected
from loadtest.cost.engine_processes.launcher import SLEEP, SPOIL
from loadtest.cost.scaling import Kind, Layout, processes, run_shared
from loadtest.requests.payloads import Payload
from loadtest.rig.batches import Batches
from loadtest.rig.client import post_message
from loadtest.rig.openloop.client import Load, run_load
from loadtest.rig.openloop.window import full_list
from loadtest.rig.server import UNHURRIED, Server, running_server
from loadtest.rig.statistics import Latency
from models.contract.manifest import MANIFEST_FILE, RULED_FILE, RULED_GOLDEN_FILE, Manifest
from models.files import write_json

_LAUNCHER: Final = "loadtest.cost.engine_processes.launcher"
_WARM_UP: Final = 0.5
_MOST_SECONDS: Final = 10.0
"""Of an answer, as the budget of `UNHURRIED`: so long stragglers are waited for, since a late one is not lost."""


def copy_without_rules(bundle: Path, root: Path) -> Path:
    """Copy a bundle to the folder `root` without its graph for rules.

    The sleeping engine cannot keep rules. Returns the bundle's own folder there.
    """
    manifest = Manifest.read(bundle)
    files = {name: told for name, told in manifest.files.items() if name not in (RULED_FILE, RULED_GOLDEN_FILE)}
    folder = root / manifest.name / manifest.version
    folder.mkdir(parents=True)
    for name in files:
        shutil.copyfile(bundle / name, folder / name)
    write_json(folder / MANIFEST_FILE, replace(manifest, ruled=None, files=files).to_json())
    return folder


@dataclass(frozen=True, slots=True)
class Subjects:
    """Bundles to serve, the requests with their answers, and how the engine behaves."""

    bundles: Path
    payloads: Sequence[Payload]
    expected: Expected
    in_flight: int
    seconds: float
    spoil: int = 0

    @contextlib.contextmanager
    def serving(self, layout: Layout) -> Iterator[Server]:
        """Serve in a layout while the context lasts. Raises `ServerError`."""
        prefix = (sys.executable, "-m", _LAUNCHER)
        environment = {SLEEP: str(self.seconds), SPOIL: str(self.spoil)}
        options = (*UNHURRIED, *layout.options, "--log-level", "error")
        with running_server(self.bundles, options=options, prefix=prefix, environment=environment) as server:
            yield server

    def load(self, server: Server, seconds: float) -> Round:
        """Load a service in a closed loop, check every answer, and count the batches.

        Raises `ValueError` if nothing got a full list.
        """
        before = Batches.read(server.url)
        window, share = run_shared(server, self._messages(), self._load(seconds), warm_up=_WARM_UP)
        batches, found = Batches.read(server.url) - before, self.expected.check(window)
        times = Latency.of(window.where(full_list(window.records)).answered_ms())
        return Round(found, found.full / window.seconds, times, batches, share)

    def load_under_kills(self, server: Server, seconds: float) -> tuple[Contents, list[float]]:
        """Do the same without times; return also when requests were left without an answer (`time.monotonic`)."""
        window = run_load(server.port, self._messages(), self._load(seconds))
        return self.expected.check(window), [int(ns) / 1e9 for ns in window.records["done"][~window.answered]]

    def _messages(self) -> list[bytes]:
        return [post_message(payload.body) for payload in self.payloads]

    def _load(self, seconds: float) -> Load:
        return Load(seconds=seconds, connections=self.in_flight, drain=_MOST_SECONDS, keep_bodies=True)


@dataclass(frozen=True, slots=True)
class Round:
    """One window: answers, rate and times of full lists, batches, and the busiest worker's share."""

    contents: Contents
    rate: float
    latency: Latency
    batches: Batches
    busiest: float


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed, just after `at` on `time.monotonic`'s clock."""

    kind: Kind
    at: float


@dataclass
class Killer:
    """Kill the engine process or a worker every so often, at random, from a thread."""

    server: Server
    every: float
    seed: int
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._random = random.Random(self.seed)

    @property
    def has_killed_both(self) -> bool:
        """Tell whether an engine process and a worker have been killed."""
        return len({kill.kind for kill in self.kills}) > 1

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Kill while the context lasts."""
        thread = threading.Thread(target=self._work, name="killer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._random.uniform(0.5, 1.5) * self.every):
            kind: Kind = self._random.choice(("engine", "worker"))
            if not (found := processes(self.server, kind)):
                continue  # Its replacement is still to come.
            with contextlib.suppress(psutil.NoSuchProcess):
                at = time.monotonic()  # Before: this thread may come back long after the process has gone.
                self._random.choice(found).kill()
                self.kills.append(Kill(kind, at))
