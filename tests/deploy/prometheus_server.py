"""A real Prometheus on 127.0.0.1 that scrapes what a test serves, and answers its queries."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

BINARY: Final = shutil.which("prometheus")
WAIT_SECONDS: Final = 60
needs_prometheus = pytest.mark.skipif(
    BINARY is None, reason="prometheus is not installed; Debian has it in `prometheus`"
)


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; it is a failure if there was an error or a warning."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an instant query, one for each series."""
        data = self.get("query", query=expression)
        found = [data] if data["resultType"] == "scalar" else data["result"]
        return [float(series["value"][1]) for series in found]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what a later scrape will show."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.1)


@contextlib.contextmanager
def scraping(folder: Path, ports: Sequence[int], *, seconds: int = 1) -> Iterator[Prometheus]:
    """Scrape these ports of 127.0.0.1 every so many seconds, as the job `listwright`; all data is in `folder`."""
    assert BINARY is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    configuration = folder / "prometheus.yml"
    job = {"job_name": "listwright", "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in ports]}]}
    every = {"scrape_interval": f"{seconds}s", "scrape_timeout": f"{seconds}s"}
    configuration.write_text(json.dumps({"global": every, "scrape_configs": [job]}), "utf-8")
    command = [
        BINARY,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as popen:
        try:
            server = Prometheus(port)
            server.until(lambda: _is_ready(popen, port, folder / "log"))
            yield server
        finally:
            popen.terminate()


def _is_ready(popen: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert popen.poll() is None, log.read_text("utf-8")
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
        return True
    return False
