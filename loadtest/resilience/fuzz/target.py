"""Run the service that is fuzzed; watch its answers, memory, open files and log."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.resilience.fuzz.mutations import Port
from loadtest.rig.server import HOST, UNHURRIED, Server, running_server, tree

READ_TIMEOUT: Final = 0.5
MOST_GROWTH: Final = 96 * 1024 * 1024
"""Bytes by which the service may grow under fuzzing: the memory of bodies and answers that are in progress."""

MOST_FILES: Final = 16
_SETTLE: Final = 15.0
_PATIENCE: Final = 30.0
_TRACEBACK: Final = b"Traceback (most recent call last)"
_OPTIONS: Final = (*UNHURRIED, "--deadline-mode", "observe", "--read-timeout-seconds", str(READ_TIMEOUT))

RERANK: Final = json.dumps(
    {
        "request_id": "fuzz",
        "candidates": [
            {"id": "a", "scores": {"ctr": 0.12, "cvr": 0.03}, "price": 59.0, "embedding": [0.1, -0.2]},
            {"id": "b", "scores": {"ctr": 0.07, "cvr": 0.08}, "price": 24.5, "features": {"stars": 4}},
        ],
        "top_n": 2,
        "diversity": {"lambda": 0.8, "window": 4},
    }
).encode()

COLUMNS: Final = json.dumps(
    {
        "request_id": "fuzz",
        "candidates": {
            "id": ["a", "b"],
            "scores": {"ctr": [0.12, 0.07], "cvr": "j8L1PArXoz0="},
            "price": [59.0, None],
            "features": {"stars": [None, 4]},
        },
        "top_n": 2,
    }
).encode()
"""The same with columns; one of them is base64."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident bytes and open files of all processes of the service."""

    resident: int
    files: int


@dataclass(slots=True)
class Target:
    """A service that runs, with its log, which has been looked at up to `seen`."""

    server: Server
    log: Path
    seen: int = 0

    @property
    def ports(self) -> Mapping[Port, int]:
        """Return the number of each port."""
        return {"public": self.server.port, "admin": int(self.server.announcement["admin_port"])}

    @property
    def alive(self) -> bool:
        """Tell whether its process runs."""
        return self.server.process.poll() is None

    def fault(self) -> str | None:
        """Say what is wrong with the service; None if both ports answer good requests.

        A traceback in the log is told once.
        """
        if not self.alive:
            return f"the service ended with status {self.server.process.returncode}"
        text = self.log.read_bytes()[self.seen :]
        self.seen += len(text)
        if _TRACEBACK in text:
            return f"the log has a traceback: {text[text.index(_TRACEBACK) :][:1500].decode('utf-8', 'replace')}"
        deadline = time.monotonic() + _PATIENCE
        while (said := self._unwell()) is not None and time.monotonic() < deadline:
            time.sleep(0.2)
        return said

    def _unwell(self) -> str | None:
        try:
            found = self._ask("public", "POST", "/v1/rerank", RERANK)
            models = self._ask("admin", "GET", "/admin/v1/models", None)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"a good request was not answered: {error!r}"
        if sorted(item["id"] for item in found.get("items", ())) != ["a", "b"] or not models.get("models"):
            return f"a good request was answered wrongly: {str(found)[:200]} {str(models)[:200]}"
        return None

    def _ask(self, port: Port, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.ports[port], timeout=10)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            return dict(json.loads(connection.getresponse().read()))

    def usage(self) -> Usage:
        """Read what the service uses, of /proc."""
        pids = tree(self.server.pid)
        resident = sum(_resident(pid) for pid in pids)
        return Usage(resident, sum(len(list(Path(f"/proc/{pid}/fd").glob("*"))) for pid in pids))

    def settled(self, before: Usage) -> str | None:
        """Say if the service keeps more than it may once its connections have ended."""
        deadline = time.monotonic() + _SETTLE
        while True:
            now = self.usage()
            grown, more = now.resident - before.resident, now.files - before.files
            if grown <= MOST_GROWTH and more <= MOST_FILES:
                return None
            if time.monotonic() > deadline:
                return f"the service grew by {grown / 2**20:.0f} MiB and holds {more} more open files"
            time.sleep(0.5)


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def running_target(bundles: Path, log: Path, options: Sequence[str] = ()) -> Iterator[Target]:
    """Run the service with a short read timeout while the context lasts. Raises `ServerError`."""
    with running_server(bundles, options=(*_OPTIONS, *options), log=log) as server:
        yield Target(server, log)
