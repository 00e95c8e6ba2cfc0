"""Bundles that crash ONNX Runtime, against the running service: nobody notices, and the sound version serves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.bad_bundles import needs_x86, write_crashing
from tests.service.bundles.test_trial import children
from tests.service.requests import request
from tests.service.test_process import Process, running
from tests.service.tiny_bundle import Options, write_bundle

pytestmark = needs_x86
# The command, with a service that looks at refused versions ten times a second.
SERVE = [
    sys.executable,
    "-c",
    "import sys; from models.cli import main; from service.bundles.switching import Switcher; "
    "Switcher.watch.__defaults__ = (0.1,); sys.exit(main(['serve', *sys.argv[1:]]))",
]
WORKERS = ("1", pytest.param("2", marks=pytest.mark.slow))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(process: Process, name: str, **labels: str) -> float | None:
    """The value of a series; None if it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    start = name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    values = [float(line.split()[-1]) for line in lines if line.startswith(start)]
    return values[0] if values else None


def version(process: Process) -> str:
    status, answer = process.ask("/v1/rerank", request())
    assert status == 200, answer
    return str(answer["version"])


def answering_models(process: Process) -> set[str]:
    """The models that answer requests without a name; empty if the service cannot be reached."""
    with contextlib.suppress(OSError):
        answers = [process.ask("/v1/rerank", request()) for _ in range(8)]
        return {str(answer.get("model", status)) for status, answer in answers}
    return set()


def refused(process: Process, number: str) -> float | None:
    return shown(process, "rerank_bundle_refused", model="tiny", version=number)


@pytest.mark.long
@pytest.mark.parametrize("workers", WORKERS)
def test_a_crashing_bundle_ends_nothing_and_the_sound_one_below_it_serves(tmp_path: Path, workers: str) -> None:
    write_bundle(tmp_path)
    write_crashing(tmp_path, Options(version="2"))
    flags = ("--workers", workers, "--budget-ms", "30000")
    with running(tmp_path, SERVE, *flags) as process:
        process.wait_until_ready()
        assert version(process) == "1"
        until(lambda: refused(process, "2") == 1)

        write_crashing(tmp_path, Options(version="3"), at_load=False)
        status, problem = process.ask("/admin/v1/reload", {"model": "tiny"}, process.admin_port)
        assert status == 422
        assert "was ended by signal 8 (SIGFPE) while replaying golden.npz" in problem["detail"]
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: refused(process, "3") == 1)
        assert version(process) == "1"

        # Files that are made good serve without another word.
        shutil.rmtree(tmp_path / "tiny" / "3")
        write_bundle(tmp_path, Options(version="3"))
        until(lambda: version(process) == "3")
        until(lambda: refused(process, "3") is None)
        assert process.ask("/v2/health/ready")[0] == 200
        status, _, err = process.stop()
    assert status == 0
    lines = [json.loads(line)["message"] for line in err.splitlines()]
    assert [line for line in lines if "version 2 is refused" in line and "SIGFPE" in line]
    assert not [line for line in lines if "ended with status" in line]  # No worker died.


@pytest.mark.long
@pytest.mark.parametrize("workers", WORKERS)
def test_a_second_model_never_takes_or_ends_the_default(tmp_path: Path, workers: str) -> None:
    with running(tmp_path, SERVE, "--workers", workers, "--budget-ms", "30000") as process:
        until(lambda: "no bundle is loaded" in str(process.ask("/v2/health/ready")[1]))
        write_bundle(tmp_path)
        for name in ("tiny", "another"):
            if name != "tiny":
                write_bundle(tmp_path, Options(name=name))
            process.popen.send_signal(signal.SIGHUP)
            until(lambda name=name: process.ask("/v1/rerank", request(model=name))[0] == 200)  # type: ignore[misc]
            assert [process.ask("/v1/rerank", request())[1]["model"] for _ in range(8)] == ["tiny"] * 8
        if workers != "1":  # One that comes later loads the live versions in another order.
            assert process.ask("/admin/v1/reload", {"model": "tiny"}, process.admin_port)[0] == 200
            before = children(process.popen.pid)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(set(children(process.popen.pid)) - set(before)) == len(before))
            until(lambda: answering_models(process) == {"tiny"})
        assert process.stop()[0] == 0
