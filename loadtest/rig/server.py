"""Start servers on CPUs of their own, and stop them cleanly.

`listwright serve` gets a free port. Everything goes through its command line, the JSON line that it prints once it
listens, its readiness probe and SIGTERM. Needs the standard library only, since the demo has nothing else.

``python -m loadtest.rig.server --bundles bundles -- curl {url}/v1/models`` runs a command against a service that is
started for it and stopped afterwards; ``{url}`` stands for its address.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from models.contract.manifest import EMBEDDED_BUNDLES

HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 20.0
RELOAD_TIMEOUT: Final = 120.0
"""Seconds; a reload loads, checks and warms a bundle, which takes half a minute on a machine with much else to do."""
_KILL_TIMEOUT: Final = 5.0
UNHURRIED: Final = ("--budget-ms", "10000")
"""Options for measuring: a late answer is a figure, an answer without the model would not be one."""

_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CpuSplit:
    """Name the CPUs of the server, and those of everything that measures it."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Say whether the client competes with the server for its CPUs."""
        return bool(set(self.server) & set(self.client))

    @classmethod
    def of(cls, available: Collection[int], server_cpus: int) -> CpuSplit:
        """Give the server the first `server_cpus`. Raises `ValueError` for too few or many."""
        cpus = tuple(sorted(available))
        if not 1 <= server_cpus <= len(cpus):
            raise ValueError(f"--cpus: must be 1 to {len(cpus)}, the CPUs of this process, not {server_cpus}")
        return cls(cpus[:server_cpus], cpus[server_cpus:] or cpus)


@contextlib.contextmanager
def on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Run this thread and the processes that it starts on `cpus`, if any.

    A process inherits the CPUs of the thread that starts it, so no thread of it ever runs elsewhere.
    """
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def reload_url(self) -> str:
        """Return the admin port's address for reloads."""
        return f"http://{HOST}:{self.announcement['admin_port']}/admin/v1/reload"

    def reload(self, name: str, version: str) -> None:
        """Order a reload at the admin port, and wait for it.

        Raises `ServerError` if it fails.
        """
        body = json.dumps({"model": name, "version": version}).encode()
        order = urllib.request.Request(self.reload_url, body, {"Content-Type": "application/json"})
        try:
            with _DIRECT.open(order, timeout=RELOAD_TIMEOUT):
                return
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the reload of {name} {version} failed: {error}") from None


@contextlib.contextmanager
def running_server(
    bundles: Path,
    *,
    options: Sequence[str] = (),
    log: Path | None = None,
    cpus: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    start_seconds: float = START_TIMEOUT,
) -> Iterator[Server]:
    """Serve the bundles under a folder while the context lasts; always stopped after it.

    `options` are further ones of ``listwright serve`` and `log` receives its standard error. It runs on `cpus` only, if
    any are named, with `environment` added to this process's, in a session of its own. `prefix` is a program and its
    options that becomes the service in the same process, such as prlimit. Raises `ServerError`, also for one that is
    not ready within `start_seconds`.
    """
    ports = ("--host", HOST, "--port", "0", "--admin-port", "0")
    command = (*prefix, sys.executable, "-m", "models.cli", "serve", *ports, "--bundles", str(bundles), *options)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", log or Path(folder) / "err"
        with started(command, out, err, cpus=cpus, environment=environment) as process:
            announcement = poll(process, err, lambda: _announcement(out), "did not say where it listens")
            server = Server(int(announcement["port"]), process, announcement)
            ready = f"{server.url}/v2/health/ready"
            poll(process, err, lambda: answers(ready), "was not ready", seconds=start_seconds)
            yield server


def from_source(folder: Path) -> dict[str, str]:
    """Return the variables with which a service runs from another source tree.

    Paths in its options are still those of this process. Raises `ValueError` for a folder that is no source tree.
    """
    folder = folder.absolute()
    if not (folder / "models" / "cli.py").is_file():
        raise ValueError(f"{folder}: is no source tree of this service")
    # Without the second variable the working directory would win.
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def started(
    command: Sequence[str], out: Path, err: Path | None, *, cpus: Sequence[int], environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own while the context lasts.

    Standard error goes to `out` too without `err`. `environment` is added to this process's.
    """
    variables = {**os.environ, **(environment or {})}
    # Files rather than pipes: a pipe that nobody reads fills up and then blocks the server.
    errors = contextlib.nullcontext(subprocess.STDOUT) if err is None else err.open("wb")
    with out.open("wb") as stdout, errors as stderr, on_cpus(cpus):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=variables, start_new_session=True
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the root of a process tree, then kill the rest."""
    members = tree(process.pid)  # A process that outlives its parent could not be found later.
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    members |= tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in alive(members):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    # Only a child can be waited for, and a killed process takes a moment to end.
    deadline = time.monotonic() + _KILL_TIMEOUT
    while alive(members) and time.monotonic() < deadline:
        time.sleep(0.01)


def tree(root: int) -> dict[int, int]:
    """Map living processes to their start times: the root, its session and all descendants.

    Zombies are left out. It reads /proc, so it is empty where there is none.
    """
    stats = {int(path.name): stat for path in Path("/proc").glob("[0-9]*") if (stat := _stat(int(path.name)))}
    found = {pid for pid, stat in stats.items() if root in (pid, stat.session)}
    while more := {pid for pid, stat in stats.items() if stat.parent in found} - found:
        found |= more
    return {pid: stats[pid].start for pid in found if stats[pid].state not in "ZX"}


def alive(members: Mapping[int, int]) -> list[int]:
    """Return the processes of a `tree` that still run; start times tell reused numbers."""
    found = {pid: _stat(pid) for pid in members}
    return [pid for pid, stat in found.items() if stat and stat.start == members[pid] and stat.state not in "ZX"]


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    start: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # The name before it may hold spaces and brackets.
    return _Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def poll(
    process: subprocess.Popen[bytes],
    log: Path,
    probe: Callable[[], T | None],
    failure: str,
    name: str = "the service",
    *,
    seconds: float = START_TIMEOUT,
) -> T:
    """Call `probe` until it finds something. Raises `ServerError` with the end of the log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        if process.poll() is not None:
            raise ServerError(f"{name} ended with status {process.returncode}{_last_words(log)}")
        time.sleep(0.05)
    raise ServerError(f"{name} {failure} within {seconds:.0f} s{_last_words(log)}")


def _announcement(out: Path) -> dict[str, Any] | None:
    """Return the first complete line of output that is JSON with a port."""
    for line in out.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and line.startswith(b"{"):
            table = json.loads(line)
            if "port" in table:
                return dict(table)
    return None


def answers(url: str) -> bool:
    """Say whether a GET is answered with success."""
    try:
        with _DIRECT.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def _last_words(log: Path) -> str:
    return "".join("\n" + line for line in log.read_text("utf-8", "replace").splitlines()[-15:])


def main(argv: Sequence[str] | None = None) -> int:
    """Return the command's status, or exit with 2 if the service did not start."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.rig.server", description=__doc__)
    parser.add_argument("--bundles", type=Path, default=EMBEDDED_BUNDLES, help="folder of bundles (the embedded one)")
    parser.add_argument("--log", type=Path, help="file for the service's standard error")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="command to run, after --")
    options = parser.parse_args(argv)
    try:
        with running_server(options.bundles, log=options.log) as server:
            command = [part.replace("{url}", server.url) for part in options.command]
            return subprocess.run(command, check=False).returncode
    except (ServerError, OSError) as error:
        parser.exit(2, f"loadtest.rig.server: {error}\n")


if __name__ == "__main__":
    raise SystemExit(main())
