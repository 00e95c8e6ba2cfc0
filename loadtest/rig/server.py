"""Start `listwright serve` on a free port of 127.0.0.1, and stop it cleanly.

Everything goes through the command line, the JSON line that the service prints once it listens, its readiness probe
and SIGTERM. Needs the standard library only, since the demo has nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
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

from loadtest.rig.cpus import on_cpus

HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 20.0
UNHURRIED: Final = ("--budget-ms", "10000")
"""Options for measuring: a late answer is a figure, an answer without the model would not be one."""

T = TypeVar("T")


class ServerError(RuntimeError):
    """Report a service that did not become ready, with its last output."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running service: its port, its process and the line with which it announced itself."""

    port: int
    process: subprocess.Popen[bytes]
    announcement: dict[str, Any]

    @property
    def pid(self) -> int:
        """Return the root of its tree of processes."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Return the address of the public port."""
        return f"http://{HOST}:{self.port}"

    @property
    def reload_url(self) -> str:
        """Return the admin port's address for reloads."""
        return f"http://{HOST}:{self.announcement['admin_port']}/admin/v1/reload"


@contextlib.contextmanager
def running_server(
    bundles: Path,
    *,
    options: Sequence[str] = (),
    log: Path | None = None,
    cpus: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Serve the bundles under a folder while the context lasts; always stopped after it.

    `options` are further ones of ``listwright serve`` and `log` receives its standard error. It runs on `cpus` only, if
    any are named, with `environment` added to this process's, in a session of its own. Raises `ServerError`.
    """
    ports = ("--host", HOST, "--port", "0", "--admin-port", "0")
    command = (sys.executable, "-m", "models.cli", "serve", *ports, "--bundles", str(bundles), *options)
    with contextlib.ExitStack() as stack:
        # Files rather than pipes: a pipe that nobody reads fills up and then blocks the service.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out, err = folder / "out", log or folder / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr, on_cpus(cpus):
            variables = {**os.environ, **(environment or {})}
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=variables, start_new_session=True)
        stack.callback(stop, process)
        announcement = _poll(process, err, lambda: _announcement(out), "did not say where it listens")
        server = Server(int(announcement["port"]), process, announcement)
        _poll(process, err, lambda: _is_ready(server), "was not ready")
        yield server


def stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the leader of a process group, then kill the rest."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
    """Return the first complete line of output that is JSON with a port."""
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
    """Return the last lines of a log file, each after a line break."""
    return "".join("\n" + line for line in err.read_text("utf-8", "replace").splitlines()[-15:])
