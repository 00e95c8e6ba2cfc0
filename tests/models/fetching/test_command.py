"""The command `listwright fetch` as a process: two at once, early ends, exit statuses, and what it imports."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.commands import fetch as command
from tests.models.data.buckets import WITHOUT_STORE
from tests.models.fetching.copies import fetched, whole
from tests.models.fetching.web import Web

fsspec = pytest.importorskip("fsspec", reason=WITHOUT_STORE)
pytest.importorskip("aiohttp", reason=WITHOUT_STORE)


def _start(*arguments: str) -> subprocess.Popen[str]:
    """Run the command in a process of its own."""
    code = (
        "import argparse, sys; from models.commands import fetch as f; p = argparse.ArgumentParser(); "
        "f.configure(p); sys.exit(f.run(p.parse_args()))"
    )
    command_line = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_two_at_once_into_one_folder_do_it_once(web: Web, tmp_path: Path) -> None:
    web.faults["model.onnx"] = ["hang"]
    arguments = (web.url, "--to", str(tmp_path / "to"))
    with _start(*arguments) as first:
        assert web.hanging.wait(60)
        with _start(*arguments) as second:
            assert second.stdout is not None
            assert "another process" in second.stdout.readline()
            web.released.set()
            out = [process.communicate(timeout=120) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), out
    assert "demo/10: fetched" in out[0][0]
    assert "demo/10: is there already" in out[1][0]
    assert whole(tmp_path / "to", "10")


@pytest.mark.long
@pytest.mark.parametrize("ending", ["timeout", "sigterm", "sigkill"])
def test_a_run_that_ends_early_publishes_nothing_and_the_next_one_all(ending: str, web: Web, tmp_path: Path) -> None:
    web.faults["model.onnx"] = ["hang"]
    limit = ("--timeout", "3") if ending == "timeout" else ()
    with _start(web.url, "--to", str(tmp_path / "to"), *limit) as process:
        if ending != "timeout":
            assert web.hanging.wait(60)
            process.send_signal(signal.SIGTERM if ending == "sigterm" else signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == {"timeout": 1, "sigterm": 143, "sigkill": -9}[ending], err
    assert (ending == "timeout") == ("listwright fetch: --timeout: 3 seconds were not enough" in err)
    assert not (tmp_path / "to" / "demo").exists()
    web.released.set()
    fetched(tmp_path / "to", web.url)
    assert whole(tmp_path / "to", "10")


def test_the_command_says_what_is_missing_and_ends_with_1(tmp_path: Path) -> None:
    with _start(str(tmp_path / "nowhere"), "--to", str(tmp_path / "to"), "--retries", "0") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == f"listwright fetch: {tmp_path}/nowhere: there is no such file or folder\n"


@pytest.mark.parametrize("option", ["newest", "keep", "timeout"])
def test_a_number_that_makes_no_sense_is_refused(option: str, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = parser.parse_args(["x", "--to", str(tmp_path), f"--{option}", "0"])
    with pytest.raises(ValueError, match=f"--{option}: must be at least 1"):
        command.run(arguments)


def test_a_serving_installation_needs_no_more_than_the_extra_for_it(store: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from models.commands import fetch; from models.fetching.fetch import Fetch; from pathlib import "
        f"Path; Fetch(Path({str(tmp_path / 'to')!r})).run([{str(store)!r}]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"torch", "numpy", "pyarrow", "onnxruntime", "fastapi", "s3fs"}
