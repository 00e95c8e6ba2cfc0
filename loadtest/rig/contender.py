"""Start servers that are compared on given CPUs, and measure their cost.

A `Contender` is a name and a function that makes a context manager: on entry the server is ready for requests, on exit
no process of it is left. `listwright` is one. Another server's is made from `serving`, which runs any command, waits
for its readiness URL and stops its whole tree (see `loadtest.peers.contenders`).

All contenders get the same requests; `body` may wrap one where a server insists on an envelope of its own.

In an `arena` they run in turn on the same CPUs: all but one are suspended, since an idle server may poll, and a waiting
one may hold a queue. Before each window the server must have stopped using its CPU, so that no window inherits a
backlog.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import requests
from numpy.typing import NDArray

from loadtest.rig.client import post_message
from loadtest.rig.goodput import Rules, Trial
from loadtest.rig.openloop.client import Load, run_load
from loadtest.rig.openloop.window import Records, Window, full_list
from loadtest.rig.server import HOST, CpuSplit, answers, poll, running_server, started, tree
from models.contract.serving import RERANK_PATH
from models.reranking.client import environment_key, key_headers

_MIB: Final = 2.0**20
_QUIET: Final = 0.1
_QUIET_SHARE: Final = 0.25
_LONGEST_WAIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a tree of processes in MiB; `pss_mb` divides shared pages."""

    rss_mb: float
    pss_mb: float
    processes: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready server on 127.0.0.1; `pid` is the root of its processes."""

    port: int
    pid: int
    path: str = RERANK_PATH
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"

    def processes(self) -> list[psutil.Process]:
        """Return the root process, its session and all descendants, as far as they live."""
        found = []
        for pid in tree(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def cpu_seconds(self) -> float:
        """Return user and system time of the tree, ended children included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def memory(self) -> Memory:
        """Sum the memory of the tree; a process that ends meanwhile does not count."""
        infos = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                infos.append(process.memory_full_info())
        return Memory(sum(i.rss for i in infos) / _MIB, sum(i.pss for i in infos) / _MIB, len(infos))

    def message(self, body: bytes) -> bytes:
        """Return a POST of JSON as it goes over the wire."""
        return post_message(body, self.path, self.headers)


StartServer = Callable[[Sequence[int]], AbstractContextManager[Endpoint]]
"""CPUs to a context with a ready server on them. Raises `ServerError`."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server of a comparison: `is_full` marks answers of full quality, `body` wraps a request.

    `bodies` are requests of its own, in place of those that all get.
    """

    name: str
    start: StartServer
    is_full: Callable[[Records], NDArray[np.bool_]] = full_list
    body: Callable[[bytes], bytes] = bytes
    bodies: Sequence[bytes] = ()


def listwright(
    bundles: Path,
    *,
    name: str = "listwright",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    bodies: Sequence[bytes] = (),
) -> Contender:
    """Make a contender of `listwright serve` for a folder of bundles, with further `options`."""

    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        with running_server(bundles, options=options, cpus=cpus, environment=environment) as server:
            yield Endpoint(server.port, server.pid, headers=key_headers(environment_key()))

    return Contender(name, start, bodies=bodies)


def direct_session() -> requests.Session:
    """Return a session that ignores the proxies of the environment: the server is asked itself."""
    session = requests.Session()
    session.trust_env = False
    return session


def free_port() -> int:
    """Return a free port of 127.0.0.1, for servers that cannot choose one."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    *,
    cpus: Sequence[int],
    port: int,
    path: str,
    ready: str,
    environment: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Endpoint]:
    """Run a command as a server until `ready` answers 200. Raises `ServerError`.

    `environment` is added to this process's. On the way out the whole tree is stopped.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with started(command, log, None, cpus=cpus, environment=environment) as process:
            endpoint = Endpoint(port, process.pid, path, headers or {})
            url = f"http://{HOST}:{port}{ready}"
            poll(process, log, lambda: answers(url), f"was not ready at {url}", shlex.join(command))
            yield endpoint


@dataclass(frozen=True, slots=True)
class Place:
    """One running contender with its requests, and the CPU of the client."""

    contender: Contender
    endpoint: Endpoint
    messages: Sequence[bytes]
    client_cpu: int

    @property
    def name(self) -> str:
        return self.contender.name

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run while the context lasts."""
        self.resume()
        try:
            yield
        finally:
            self.settle()
            self._signal(psutil.Process.suspend)

    def resume(self) -> None:
        self._signal(psutil.Process.resume)

    def _signal(self, send: Callable[[psutil.Process], None]) -> None:
        for process in self.endpoint.processes():
            with contextlib.suppress(psutil.Error):
                send(process)

    def settle(self) -> None:
        """Wait until the server has nothing left to do, for at most ten seconds."""
        deadline = time.monotonic() + _LONGEST_WAIT
        before = self.endpoint.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            now = self.endpoint.cpu_seconds()
            if now - before <= _QUIET * _QUIET_SHARE:
                return
            before = now

    def closed(self, concurrency: int, seconds: float, warm_up: float) -> Window:
        load = Load(seconds=seconds, connections=concurrency, cpu=self.client_cpu)
        return run_load(self.endpoint.port, self.messages, load, warm_up=warm_up)

    def trial(self, rate: float, seconds: float, warm_up: float, rules: Rules) -> Trial:
        """Measure and judge a window of the open loop, once the last backlog has gone."""
        self.settle()
        load = Load(rate=rate, seconds=seconds, cpu=self.client_cpu)
        window = run_load(self.endpoint.port, self.messages, load, warm_up=warm_up)
        return rules.judge(window, rate, self.contender.is_full)


@contextlib.contextmanager
def arena(contenders: Sequence[Contender], bodies: Sequence[bytes], split: CpuSplit) -> Iterator[list[Place]]:
    """Start all contenders, send each a few requests, and suspend it. Raises `ServerError`."""
    with contextlib.ExitStack() as stack:
        places = []
        for contender in contenders:
            endpoint = stack.enter_context(contender.start(split.server))
            messages = [endpoint.message(contender.body(body)) for body in contender.bodies or bodies]
            place = Place(contender, endpoint, messages, split.client[0])
            stack.callback(place.resume)  # Before its own end: a suspended process ignores SIGTERM.
            with place.awake():
                place.closed(8, 2.0, 0.0)
            places.append(place)
        yield places
