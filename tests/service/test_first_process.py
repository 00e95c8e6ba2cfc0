"""`listwright serve` as the first process of a container, for which signals have no default action."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.live import WAIT_SECONDS
from tests.service.test_process import SERVE, environment, running

FIRST = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
_TERM = 1 << (signal.SIGTERM - 1)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if shutil.which("unshare") is None or subprocess.run([*FIRST, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of processes can be made here")


def first_process(unshare: subprocess.Popen[str]) -> int:
    """The process that is the first of its namespace, by its number outside."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return int(found[0])


def handles_sigterm(process: int) -> bool:
    (mask,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) & _TERM)


@pytest.fixture
def starting(bundle: Path) -> Iterator[subprocess.Popen[str]]:
    """A service that has just been started, in a namespace of its own.

    It is not measured for coverage, which would handle SIGTERM itself until the command does.
    """
    arguments = [*FIRST, *SERVE, "--bundles", str(bundle.parents[1]), "--port", "0"]
    plain = {name: value for name, value in environment().items() if not name.startswith("COV")}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain) as popen:
        try:
            yield popen
        finally:
            popen.kill()


def test_it_can_be_stopped_before_it_is_imported(starting: subprocess.Popen[str]) -> None:
    first = first_process(starting)
    deadline = time.monotonic() + WAIT_SECONDS
    while not handles_sigterm(first):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(first, signal.SIGTERM)
    out, err = starting.communicate(timeout=WAIT_SECONDS)
    if out:
        pytest.skip("it listened before the signal came")
    assert (starting.returncode, out, err) == (128 + signal.SIGTERM, "", "")


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_stops_as_ever_once_it_listens(bundle: Path, workers: str) -> None:
    with running(bundle.parents[1], [*FIRST, *SERVE], "--workers", workers) as process:
        process.wait_until_ready()
        os.kill(first_process(process.popen), signal.SIGTERM)
        _, err = process.popen.communicate(timeout=WAIT_SECONDS)
    assert process.popen.returncode == 0, err
