"""Run commands where nothing but themselves can reach what listens: in a network namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_ENTER = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


@cache
def reason_against() -> str | None:
    """Why no such namespace can be had here, if so."""
    missing = [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]
    if missing:
        return f"there is no {missing[0]}"
    tried = subprocess.run([*_ENTER, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"unshare is not allowed here: {tried.stderr.strip()}"


def require_namespace() -> None:
    """Skip the test where there can be no namespace."""
    if reason := reason_against():
        pytest.skip(reason)


def started(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start a Python command line in a namespace, on one thread a process."""
    return subprocess.Popen(
        [*_ENTER, sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**_environment(), **environment},
    )


def run(command: Sequence[str], **environment: str) -> str:
    """Run a Python command line in a namespace; return what it printed."""
    return finished(started(command, **environment))


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must end well, and return what it printed."""
    try:
        printed, _ = process.communicate(timeout=800)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    return printed


def _environment() -> Mapping[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
