"""Run a command on a cluster of three nodes on this machine, and lose one meanwhile; for a network namespace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

HEAD = "127.0.0.1:6399"
_NODE = ("--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 << 20), "--block", "--disable-usage-stats")


@contextmanager
def node(*more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node of the cluster."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *more, *_NODE]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def lose(process: subprocess.Popen[bytes]) -> None:
    """Kill what a node runs, as the end of its machine would."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.send_signal(signal.SIGKILL)


def main(first_result: Path, command: Sequence[str]) -> int:
    """Run ``listwright`` while a node is lost after the first result, and return its exit status."""
    with node("--head", "--port", HEAD.rpartition(":")[2], "--num-cpus", "0", "--include-dashboard", "false"):
        _wait_for_nodes(1)
        with ExitStack() as nodes:
            # One after the other, since two that start together may choose the same port.
            for count in (2, 3):
                lost = nodes.enter_context(node("--address", HEAD, "--num-cpus", "1"))
                _wait_for_nodes(count)
            working = subprocess.Popen([sys.executable, "-m", "models.cli", *command, "--ray", HEAD, "--workers", "2"])
            while working.poll() is None and not first_result.exists():
                time.sleep(0.05)
            assert working.poll() is None, "the run was over before the node could be killed"
            lose(lost)
            return working.wait()


def _wait_for_nodes(count: int) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", HEAD]
    while len(re.findall(r"^ \d+ node_\w+$", _printed(command), re.MULTILINE)) < count:
        time.sleep(0.5)


def _printed(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
