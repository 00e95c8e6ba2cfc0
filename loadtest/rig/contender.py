"""Start servers that are compared on given CPUs, and say what they cost.

A `Contender` is a name and a function that makes a context manager: on entry the server is ready for requests, on exit
no process of it is left. `listwright` is one. Another server's is made from `serving`, which runs any command, waits
for its readiness URL and stops its whole tree::

    def fastapi(bundle: Path) -> Contender:
        def start(cpus: Sequence[int]) -> AbstractContextManager[Endpoint]:
            port = free_port()
            command = [sys.executable, "-m", "loadtest.peers.fastapi_server", f"--bundle={bundle}", f"--port={port}"]
            return serving(command, cpus=cpus, port=port, path=RERANK_PATH, ready="/health")
        return Contender("fastapi", start, is_full=status_200)

All contenders get the same requests; `body` may wrap one where a server insists on an envelope of its own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
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
from loadtest.rig.cpus import on_cpus
from loadtest.rig.openloop.window import Records, full_list
from loadtest.rig.server import HOST, START_TIMEOUT, ServerError, last_words, running_server, stop
from models.contract.serving import RERANK_PATH

_MIB: Final = 2.0**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a tree of processes in MiB; `pss_mb` divides shared pages."""

    rss_mb: float
    pss_mb: float
    processes: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready server at `path` of `host`:`port`; `pid` is the root of its processes."""

    host: str
    port: int
    path: str
    pid: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the address that requests go to."""
        return f"http://{self.host}:{self.port}{self.path}"

    def processes(self) -> list[psutil.Process]:
        """Return the root process and all its descendants; nothing once the root has ended."""
        return _tree(self.pid)

    def cpu_seconds(self) -> float:
        """Return user and system time of the tree, ended children included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def memory(self) -> Memory:
        """Return the resident memory of the tree."""
        infos = [process.memory_full_info() for process in self.processes()]
        return Memory(sum(i.rss for i in infos) / _MIB, sum(i.pss for i in infos) / _MIB, len(infos))

    def message(self, body: bytes) -> bytes:
        """Return a POST of JSON as it goes over the wire."""
        return post_message(f"{self.host}:{self.port}", self.path, body, self.headers)


Start = Callable[[Sequence[int]], AbstractContextManager[Endpoint]]
"""CPUs to a context with a ready server on them. Raises `ServerError`."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server of a comparison: `is_full` marks answers of full quality, `body` wraps a request."""

    name: str
    start: Start
    is_full: Callable[[Records], NDArray[np.bool_]] = full_list
    body: Callable[[bytes], bytes] = bytes

    def messages(self, endpoint: Endpoint, bodies: Sequence[bytes]) -> list[bytes]:
        """Return the requests as they go over the wire to `endpoint`."""
        return [endpoint.message(self.body(body)) for body in bodies]


def listwright(
    bundles: Path,
    *,
    name: str = "listwright",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Contender:
    """Make a contender of `listwright serve` for a folder of bundles, with further `options`."""

    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        with running_server(bundles, options=options, cpus=cpus, environment=environment) as server:
            yield Endpoint(HOST, server.port, RERANK_PATH, server.pid)

    return Contender(name, start)


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
    with contextlib.ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        with log.open("wb") as output, on_cpus(cpus):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        stack.callback(_stop_tree, process)
        try:
            _wait_until_ready(process, f"http://{HOST}:{port}{ready}")
        except ServerError as error:
            raise ServerError(f"{shlex.join(command)}: {error}{last_words(log)}") from None
        yield Endpoint(HOST, port, path, process.pid, headers or {})


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _stop_tree(process: subprocess.Popen[bytes]) -> None:
    members = _tree(process.pid)  # A process that outlives its parent could not be found later.
    stop(process)
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"ended with status {process.returncode}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.1)
    raise ServerError(f"{url} was not ready within {START_TIMEOUT:.0f} s")
