"""Start `listwright serve` in a process of its own on a free port of 127.0.0.1, and stop it cleanly.

It talks to the service as anyone would: by its command line, the JSON line it prints once it listens, its readiness
probe and SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from loadtest.rig.processes import pinned, stop_tree

HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 20.0
UNHURRIED: Final = ("--budget-ms", "10000")
"""For measuring: a late answer is a figure, one that no model made would be none."""

T = TypeVar("T")


class ServerError(RuntimeError):
    """The service did not start or did not become ready; the message ends with what it last wrote."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running service: its port, its process and the line that it announced itself with."""

    port: int
    process: subprocess.Popen[bytes]
    announcement: dict[str, Any]

    @property
    def pid(self) -> int:
        """The root of its tree of processes."""
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def running_server(
    bundles: Path,
    *,
    options: Sequence[str] = (),
    log: Path | None = None,
    cpus: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A ready service for the bundles under a folder; stopped on the way out, whatever happens inside.

    `options` are further ones of ``listwright serve`` and `log` receives its standard error. It runs on `cpus` only,
    if any are named, with `environment` added to this process's, and in a session of its own, so that whatever it
    starts can be found. Raises `ServerError`.
    """
    ports = ("--host", HOST, "--port", "0", "--admin-port", "0")
    command = (sys.executable, "-m", "models.cli", "serve", *ports, "--bundles", str(bundles), *options)
    with contextlib.ExitStack() as stack:
        # Files rather than pipes: a pipe that nobody reads fills up and then blocks the service.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out, err = folder / "out", log or folder / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                pinned(command, cpus),
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        stack.callback(stop_tree, process, STOP_TIMEOUT)
        announcement = _poll(process, err, lambda: _announcement(out), "did not say where it listens")
        server = Server(int(announcement["port"]), process, announcement)
        _poll(process, err, lambda: _is_ready(server), "was not ready")
        yield server


def _poll(process: subprocess.Popen[bytes], err: Path, probe: Callable[[], T | None], failure: str) -> T:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        if process.poll() is not None:
            raise ServerError(f"the service ended with status {process.returncode}{last_words(err)}")
        time.sleep(0.05)
    raise ServerError(f"the service {failure} within {START_TIMEOUT:.0f} s{last_words(err)}")


def _announcement(out: Path) -> dict[str, Any] | None:
    """The first complete line of standard output that is a JSON object with a port."""
    for line in out.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and line.startswith(b"{"):
            table = json.loads(line)
            if "port" in table:
                return dict(table)
    return None


def _is_ready(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/v2/health/ready", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def last_words(err: Path) -> str:
    """The end of a log file, each line after a line break; for messages of errors."""
    return "".join("\n" + line for line in err.read_text("utf-8", "replace").splitlines()[-15:])
