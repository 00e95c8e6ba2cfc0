"""Servers that are compared: each starts on CPUs that it is told, says where it listens, and can be weighed.

A `Contender` is a name and a function that makes a context manager: on entry the server is ready for requests, on exit
no process of it is left. `listwright` is one; another server's is made from `serving`, which runs any command, waits
for its readiness URL and stops its whole tree::

    def fastapi(bundles: Path) -> Contender:
        @contextlib.contextmanager
        def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
            port = free_port()
            command = [sys.executable, "-m", "loadtest.peers.fastapi_app", "--port", str(port)]
            with serving(command, cpus=cpus, port=port, path="/v1/rerank", ready="/ready") as endpoint:
                yield endpoint
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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.rig import processes
from loadtest.rig.openloop.records import Records, full_list
from loadtest.rig.server import HOST, START_TIMEOUT, STOP_TIMEOUT, ServerError, last_words, running_server

PATH: Final = "/v1/rerank"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is ready: where requests go (`path` of `host`:`port`), and the root `pid` of its processes."""

    host: str
    port: int
    path: str
    pid: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def memory(self) -> processes.Memory:
        """Resident memory of the whole process tree."""
        return processes.memory(self.pid)

    def cpu_seconds(self) -> float:
        """CPU time that the whole process tree has used so far."""
        return processes.cpu_seconds(self.pid)

    def message(self, body: bytes) -> bytes:
        """A POST of JSON as it goes over the wire."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body


Start = Callable[[Sequence[int]], AbstractContextManager[Endpoint]]
"""CPUs to a context with a ready server on them. Raises `ServerError`."""


def _as_it_is(body: bytes) -> bytes:
    return body


@dataclass(frozen=True, slots=True)
class Contender:
    """One server of a comparison. `is_full` says which records are answers of full quality; `body` wraps a request."""

    name: str
    start: Start
    is_full: Callable[[Records], NDArray[np.bool_]] = full_list
    body: Callable[[bytes], bytes] = _as_it_is

    def messages(self, endpoint: Endpoint, bodies: Sequence[bytes]) -> list[bytes]:
        """The requests as they go over the wire to `endpoint`."""
        return [endpoint.message(self.body(body)) for body in bodies]


def listwright(
    bundles: Path,
    *,
    name: str = "listwright",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Contender:
    """`listwright serve` for a folder of bundles; `options` are further ones of its command line."""

    @contextlib.contextmanager
    def start(cpus: Sequence[int]) -> Iterator[Endpoint]:
        with running_server(bundles, options=options, cpus=cpus, environment=environment) as server:
            yield Endpoint(HOST, server.port, PATH, server.pid)

    return Contender(name, start)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now, for servers that cannot choose one themselves."""
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
    timeout: float = START_TIMEOUT,
) -> Iterator[Endpoint]:
    """Run a command as a server; ready once a GET of `ready` gives 200. Raises `ServerError` with its last words.

    `environment` is added to this process's. On the way out the tree gets SIGTERM, and SIGKILL after `STOP_TIMEOUT`.
    """
    with contextlib.ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                processes.pinned(command, cpus),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        stack.callback(processes.stop_tree, process, STOP_TIMEOUT)
        try:
            _wait_until_ready(process, f"http://{HOST}:{port}{ready}", timeout)
        except ServerError as error:
            raise ServerError(f"{shlex.join(command)}: {error}{last_words(log)}") from None
        yield Endpoint(HOST, port, path, process.pid, headers or {})


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.1)
    raise ServerError(f"{url} was not ready within {timeout:.0f} s")
