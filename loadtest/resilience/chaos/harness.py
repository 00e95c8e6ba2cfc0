"""Serve under a steady client, and check what it saw and the memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from loadtest.requests.payloads import Payload, PayloadOptions, from_bundle, make_payloads
from loadtest.resilience.chaos.scenario import Memory, Trial
from loadtest.resilience.chaos.steady import FULL, SteadyClient, lost, recovery, unexpected
from loadtest.resilience.chaos.traps import copy_as
from loadtest.resilience.chaos.watch import MemoryWatch
from loadtest.rig.contender import direct_session
from loadtest.rig.server import RELOAD_TIMEOUT, Server, running_server, tree
from models.contract.manifest import DEMO_BUNDLE

RATE: Final = 20.0
CANDIDATES: Final = 20
UNSHED: Final = ("--deadline-mode", "observe", "--budget-ms", "10000")
"""Options with which a good request is refused only for want of a place, however busy the machine is."""

BODY_BUDGET_MB: Final = 64.0
"""Most MiB of unfinished bodies that a process may hold beside twice its idle memory."""

_WARM_SECONDS: Final = 15.0
_WARM_ANSWERS: Final = 10


def payloads(seed: int = 0, candidates: int = CANDIDATES, count: int = 8) -> list[Payload]:
    """Make good requests for the embedded bundle."""
    options = PayloadOptions(count=count, sizes={candidates: 1.0}, seed=seed)
    return make_payloads(from_bundle(DEMO_BUNDLE, seed=seed), options)


def demo_folder(folder: Path, *versions: str) -> Path:
    """Copy the embedded bundle to `folder` in some versions, and return the folder."""
    for version in versions or ("1",):
        copy_as(folder, "demo", version)
    return folder


@dataclass
class Service:
    """A running service under the steady client; `began` is when the fault did (monotonic seconds)."""

    server: Server
    bundles: Path
    log: Path
    trial: Trial
    steady: SteadyClient
    began: float | None = None
    session: requests.Session = field(default_factory=direct_session)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def admin_port(self) -> int:
        return int(self.server.announcement["admin_port"])

    def fault(self) -> None:
        """Note that the fault begins now."""
        self.began = time.monotonic()

    def status(self, path: str, timeout: float = 5.0) -> int:
        """Return the status of a GET; 0 without an answer."""
        try:
            return self.session.get(f"{self.server.url}{path}", timeout=timeout).status_code
        except requests.RequestException:
            return 0

    @property
    def ready(self) -> bool:
        return self.status("/v2/health/ready") == 200

    def workers(self) -> list[int]:
        """Return the supervisor's living children that serve: those with the public socket open."""
        found = []
        for child in _children(self.server.pid):
            with contextlib.suppress(psutil.Error):
                if any(c.status == psutil.CONN_LISTEN for c in child.net_connections("tcp")):
                    found.append(child.pid)
        return sorted(found)

    def freeze(self, pid: int) -> None:
        """Stop a process; requests on the connections that it holds may be lost."""
        if self.began is None:
            self.fault()
        os.kill(pid, signal.SIGSTOP)
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        self.trial.held |= {c.raddr.port for c in process.net_connections("tcp") if c.raddr}

    def kill(self, *pids: int) -> None:
        """Kill processes at once, each with the connections that it holds noted first."""
        for pid in pids:
            self.freeze(pid)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def reload(
        self, version: str | None = None, name: str = "demo", timeout: float = RELOAD_TIMEOUT
    ) -> tuple[int, float]:
        """Order a reload; return its status (0: none within `timeout`) and its seconds."""
        order = {"model": name} if version is None else {"model": name, "version": version}
        sent = time.monotonic()
        try:
            status = self.session.post(self.server.reload_url, json=order, timeout=timeout).status_code
        except requests.RequestException:
            status = 0
        return status, time.monotonic() - sent

    def metric(self, name: str, timeout: float = 10.0) -> float | None:
        """Return the sum of a metric's samples; None if there is none, or no answer."""
        try:
            text = self.session.get(f"{self.server.url}/metrics", timeout=timeout).text
        except requests.RequestException:
            return None
        return sample_sum(text, name)

    def rerank(self, **changes: Any) -> tuple[int, Any]:
        """Send one good request with changed fields; return status (0: no answer) and JSON."""
        body = {**json.loads(payloads(count=1)[0].body), "timeout_ms": 5000, **changes}
        body = {key: value for key, value in body.items() if value is not None}
        try:
            answer = self.session.post(f"{self.server.url}/v1/rerank", json=body, timeout=10)
        except requests.RequestException:
            return 0, None
        return answer.status_code, answer.json()

    def version(self) -> tuple[int, str | None]:
        """Return the status of a good request, and the version of its list."""
        status, answer = self.rerank()
        return status, (answer or {}).get("version")

    def until(self, what: str, condition: Callable[[], bool], within: float) -> float:
        """Wait for a condition, and check that it came within a time. Returns the seconds."""
        seconds = wait(condition, within)
        self.trial.expect(
            what, f"≤ {within:g} s", f"{seconds:.1f} s" if seconds <= within else "not at all", seconds <= within
        )
        return seconds

    def log_lines(self, word: str) -> int:
        """Count the lines of the log that hold a word."""
        return sum(word in line for line in self.log.read_text("utf-8", "replace").splitlines())


def wait(condition: Callable[[], bool], within: float) -> float:
    """Return the seconds until a condition holds; infinite if it does not within a time."""
    begin = time.monotonic()
    while True:
        holds = condition()
        passed = time.monotonic() - begin
        if holds and passed <= within:
            return passed
        if passed > within:
            return float("inf")
        time.sleep(0.05)


def sample_sum(text: str, name: str) -> float | None:
    """Add the samples of one name in an exposition; None if there is none."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)", text, re.MULTILINE)
    return sum(map(float, found)) if found else None


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def serve(
    trial: Trial,
    *options: str,
    bundles: Path | None = None,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    rate: float = RATE,
    prefix: Sequence[str] = (),
) -> Iterator[Service]:
    """Serve a folder under the steady client, and judge what that saw.

    Without `bundles` the folder is a copy of the embedded one. `prefix` is a program that starts the service.
    Raises `loadtest.rig.server.ServerError`.
    """
    folder = bundles or demo_folder(trial.scratch / "bundles")
    log = trial.scratch / "log"
    given = ("--workers", str(workers), "--drain-seconds", "3", "--cache-folder", str(trial.cache), *options)
    good = payloads(trial.rng.randrange(1000))
    with running_server(folder, options=given, log=log, environment=environment, prefix=prefix) as server:
        watch = MemoryWatch(server.pid)
        with SteadyClient(server.port, good, rate) as steady:
            service = Service(server, folder, log, trial, steady)
            wait(lambda: sum(s.result == FULL for s in steady.seen) >= _WARM_ANSWERS, _WARM_SECONDS)
            service.status("/v2/health/live")  # Opens the connection that the operator's requests use.
            idle = watch.largest_mb()
            try:
                with watch.running():
                    yield service
            finally:
                _resume(server.pid)
        account(trial, steady, service.began, Memory(idle, max(watch.peak_mb, idle)))


def account(trial: Trial, steady: SteadyClient, began: float | None, memory: Memory) -> None:
    """Add the checks that hold for every fault: on answers and on memory."""
    trial.saw.update(s.result for s in steady.seen)
    trial.lost = (trial.lost or 0) + lost(steady.seen, trial.held)
    if began is not None:
        trial.recovery_seconds = max(trial.recovery_seconds or 0.0, recovery(steady.seen, began))
    trial.memory = memory
    trial.equal("accepted requests lost", 0, trial.lost)
    wrong = unexpected(steady.seen)
    trial.expect("answers that no good request may get", "none", dict(wrong) or "none", not wrong)
    trial.at_most("largest memory of a process", round(2 * memory.idle_mb + BODY_BUDGET_MB), memory.peak_mb, " MiB")


def _resume(root: int) -> None:
    """Let stopped processes run again, so that they can be asked to end."""
    for pid in tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
