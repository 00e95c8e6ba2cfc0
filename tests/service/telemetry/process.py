"""A service in a process of its own, whose stderr and environment are a test's."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HOST = "127.0.0.1"
WAIT_SECONDS = 60
"""Longer than anything takes on a busy machine."""


@dataclass
class Service:
    """A running service."""

    popen: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    def ask(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] = {}, port: int | None = None
    ) -> tuple[int, bytes]:
        """GET, or POST of a JSON body; the status and the answer."""
        connection = http.client.HTTPConnection(HOST, port or self.port, timeout=WAIT_SECONDS)
        sent = None if body is None else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(
                "GET" if sent is None else "POST", path, sent, {"Content-Type": "application/json", **headers}
            )
            response = connection.getresponse()
            return response.status, response.read()

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.ask("/v2/health/ready")[0] == 200)

    def stop(self) -> tuple[int, list[str]]:
        """Exit status, and the lines of the log if it was kept."""
        self.popen.send_signal(signal.SIGTERM)
        status = self.popen.wait(WAIT_SECONDS)
        return status, self.log.read_text("utf-8").splitlines()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def serving(
    bundles: Path,
    *flags: str,
    stderr: IO[Any] | int | None = None,
    closed: bool = False,
    environment: Mapping[str, str] = {},
) -> Iterator[Service]:
    """A service on free ports. Its log is kept in a file, unless `stderr` says otherwise or it is `closed`."""
    command = [sys.executable, "-m", "models.cli", "serve", "--bundles", str(bundles), "--port", "0", *flags]
    if closed:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LISTWRIGHT_")}
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log.file if stderr is None else stderr,
            env={**kept, "OMP_NUM_THREADS": "1", **environment},
        ) as popen,
    ):
        try:
            assert popen.stdout is not None
            line = json.loads(popen.stdout.readline())
            yield Service(popen, line["port"], line["admin_port"], Path(log.name))
        finally:
            popen.kill()
