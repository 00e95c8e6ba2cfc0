"""Run `listwright serve` as a child process, and end it whatever happens.

It listens on a Unix socket in a temporary folder, which no other user can reach.
Deadlines are only observed, so no list is degraded because the machine is busy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from models.files import ended_by_sigterm
from models.reranking.client import Address, BatchClient, RerankError

_START_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_LAST_LINES: Final = 8
_IN_PROGRESS: Final = 4096
# What would make this service listen elsewhere, ask for a key, or do more than it is asked.
_NOT_INHERITED: Final = (
    *("API_KEYS", "API_KEYS_FILE", "ADMIN_KEYS_FILE"),
    *("HOST", "PORT", "ADMIN_HOST", "SHADOW", "SHADOW_SHARE", "DEADLINE_MODE"),
)


@contextlib.contextmanager
def serving(options: Sequence[str], workers: int) -> Iterator[Address]:
    """Serve while the context lasts. `options` say which bundles. Raises `RerankError`."""
    with tempfile.TemporaryDirectory(prefix="listwright-") as folder, ended_by_sigterm():
        path, log = Path(folder) / "http.sock", Path(folder) / "log"
        fixed = {"uds": path, "admin-port": 0, "workers": workers, "deadline-mode": "observe", "log-json": "false"}
        flags = [part for name, value in fixed.items() for part in (f"--{name}", str(value))]
        limits = ("--max-in-flight", str(_IN_PROGRESS))
        command = [sys.executable, "-m", "models.cli", "serve", *flags, *limits, *options]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C comes to this process only, which then ends the other.
            )
        try:
            address = Address(uds=str(path))
            _wait_until_ready(process, address, log)
            yield address
        finally:
            _end(process)


def copied(bundle: Path, folder: Path) -> Path:
    """Make a bundles folder in `folder` that holds this bundle alone, and return it.

    It is a copy, since the service takes no link that leads out of its folder.
    """
    source = bundle.resolve()
    if not source.is_dir():
        raise RerankError(f"--bundle: no such folder: {bundle}")
    shutil.copytree(source, folder / "bundles" / source.parent.name / source.name)
    return folder / "bundles"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    left_out = {f"LISTWRIGHT_{name}" for name in _NOT_INHERITED}
    return {name: value for name, value in own.items() if name.upper() not in left_out}


def _wait_until_ready(process: subprocess.Popen[bytes], address: Address, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    reason = "it does not listen"
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), BatchClient(address, timeout=_START_SECONDS) as client:
            found = client.ready()
            if found is None:
                return
            reason = found
            if "being loaded" not in reason:  # It has looked at all bundles.
                break
        time.sleep(_LOOK_SECONDS)
    status = process.poll()
    ended = f"the service is not ready: {reason}" if status is None else f"the service ended with status {status}"
    lines = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])
    raise RerankError(f"{ended}; its log ends with\n{lines}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and its workers: ask it to stop, and kill what is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
