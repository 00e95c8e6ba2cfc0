"""A bundle is tried in a process of its own: whatever happens to that, the refusal says so, and nothing else ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.contract.manifest import Manifest
from service.bundles.load import identity
from service.bundles.model import BundleError, Model
from service.bundles.opening import LocalOpener
from service.bundles.registry import Registry
from service.bundles.reload import Loader
from service.bundles.trial import Trial
from service.inference.onnx.session import SessionConfig
from tests.service.bad_bundles import needs_x86, write_crashing, write_hanging
from tests.service.test_process import environment
from tests.service.tiny_bundle import Options, write_bundle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
LONG = 100.0
HANG = "import asyncio, sys; from tests.service.bundles.test_trial import tried; print(tried(sys.argv[1]))"
LOADING = '{"type":"Stage","name":"loading model.onnx"}'


def tried(folder: Path | str, seconds: float = LONG, cache: Path | None = None) -> dict[str, str]:
    trial = Trial(SessionConfig(cache_folder=cache), seconds)
    return asyncio.run(trial.run(Path(folder), low_priority=True))


def refusal(folder: Path, seconds: float = LONG, cache: Path | None = None) -> str:
    with pytest.raises(BundleError) as caught:
        tried(folder, seconds, cache)
    return str(caught.value)


def stand_in(script: str, seconds: float = LONG) -> str:
    """The refusal of a trial whose child is a shell script."""
    trial = Trial(SessionConfig(), seconds, command=("/bin/sh", "-c", script))
    with pytest.raises(BundleError) as caught:
        asyncio.run(trial.run(Path("somewhere"), low_priority=False))
    return str(caught.value)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in thread.read_text().split()]
    return sorted(found)


def runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.long
@pytest.mark.parametrize("cached", [False, True])
def test_a_sound_bundle_survives_and_the_files_that_were_tried_are_told(
    any_bundle: Path, tmp_path: Path, cached: bool
) -> None:
    cache = tmp_path / "cache"
    assert tried(any_bundle, cache=cache if cached else None) == identity(Manifest.read(any_bundle))
    assert cache.exists() == cached  # The optimised graph is ready for the processes that serve.


@needs_x86
@pytest.mark.parametrize(("at_load", "stage"), [(True, "loading model.onnx"), (False, "replaying golden.npz")])
def test_a_graph_that_crashes_its_process_is_refused_with_signal_and_stage(
    tmp_path: Path, at_load: bool, stage: str
) -> None:
    message = refusal(write_crashing(tmp_path, at_load=at_load))
    assert f"was ended by signal 8 (SIGFPE) while {stage}" in message


def test_a_graph_that_hangs_is_ended_after_the_time_limit(tmp_path: Path) -> None:
    before = set(children(os.getpid()))  # of other tests, such as multiprocessing's tracker of resources
    message = refusal(write_hanging(tmp_path), seconds=3)
    assert "took longer than 3 s (LISTWRIGHT_LOAD_TIMEOUT_SECONDS) while " in message
    assert not [pid for pid in set(children(os.getpid())) - before if runs(pid)]


@pytest.mark.long
def test_a_fault_that_needs_no_crash_is_told_as_in_the_process_itself(tmp_path: Path) -> None:
    assert "was exported for the feature spec" in refusal(write_bundle(tmp_path, Options(fingerprint="0" * 64)))
    moved = write_bundle(tmp_path, Options(version="2")).rename(tmp_path / "tiny" / "3")
    assert refusal(moved) == "bundle.json: says tiny/2, but stands in tiny/3"


def test_the_end_of_what_it_wrote_is_shown_and_no_more() -> None:
    message = stand_in(f"echo '{LOADING}'; yes verbose | head -c 1000000 >&2; echo the reason >&2; kill -SEGV $$")
    assert "was ended by signal 11 (SIGSEGV) while loading model.onnx; it wrote: " in message
    assert message.endswith("verbose the reason")
    assert len(message) < 600


def test_one_that_hangs_after_it_has_closed_its_output_is_ended_too() -> None:
    assert "took longer than 1 s" in stand_in(f"echo '{LOADING}'; exec >&- 2>&-; exec sleep 1000", seconds=1)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("kill -KILL $$", "was ended by signal 9 (SIGKILL), as where memory runs out, while starting"),
        ("exit 3", "ended with status 3 while starting"),
        ("exit 0", "ended with status 0 while starting"),
        ("echo hello; sleep 1000", "wrote something other than its reports"),
        ("yes | tr -d '\\n'", "wrote something other than its reports"),
        (f"echo {shlex.quote(LOADING)}; kill -ABRT $$", "was ended by signal 6 (SIGABRT) while loading model.onnx"),
        ("""echo '{"type":"Sound","identity":{}}'; kill -SEGV $$""", "was ended by signal 11 (SIGSEGV)"),
    ],
)
def test_a_child_that_does_not_say_that_all_is_well_and_end_well_is_a_refusal(script: str, text: str) -> None:
    assert text in stand_in(script)


def test_for_a_gpu_it_is_tried_on_cpu_and_the_log_says_so(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial(SessionConfig(provider="cuda"), LONG)
    with caplog.at_level(logging.INFO):
        assert asyncio.run(trial.run(bundle, low_priority=False)) == identity(Manifest.read(bundle))
    assert "on CPU first; what fails on cuda alone is found later" in caplog.text


def test_files_that_have_changed_since_they_were_tried_do_not_serve(bundle: Path) -> None:
    async def warm(_: Model) -> None:
        raise AssertionError("it must not come to this")

    said = (
        f"""echo '{{"type":"Sound","identity":{json.dumps(identity(Manifest.read(bundle)) | {"golden.npz": "0"})}}}'"""
    )
    trial = Trial(SessionConfig(), LONG, command=("/bin/sh", "-c", said))
    loader = Loader(bundle.parents[1], LocalOpener(SessionConfig()), Registry(), warm, trial=trial)
    with pytest.raises(BundleError, match="its files have changed since they were tried"):
        asyncio.run(loader.prepare("tiny", "1"))


def test_a_child_that_cannot_be_started_is_a_refusal(tmp_path: Path) -> None:
    trial = Trial(SessionConfig(), LONG, command=(str(tmp_path / "none"),))
    with pytest.raises(BundleError, match="no process can be started to try it"):
        asyncio.run(trial.run(tmp_path, low_priority=False))


@pytest.mark.parametrize("starting", [True, False])
def test_a_trial_ends_when_the_service_stops_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starting: bool
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    may_go_on = threading.Event()

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            assert may_go_on.wait(LONG)

    async def stop() -> None:
        trial = Trial(SessionConfig(), LONG, command=("/bin/sh", "-c", "exec sleep 1000"))
        task = asyncio.create_task(trial.run(tmp_path, low_priority=False))
        while not started:
            await asyncio.sleep(0.01)
        if not starting:
            may_go_on.set()
            while sum(thread.name.startswith("trial") for thread in threading.enumerate()) < 3:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr("service.bundles.trial.subprocess.Popen", Slow)
    asyncio.run(stop())
    (process,) = started
    assert process.returncode == -signal.SIGKILL
    assert process.stdout is not None
    assert process.stdout.closed


def test_a_trial_has_no_settings_of_the_service_and_so_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", "secret")
    monkeypatch.setenv("ANOTHER", "there")
    assert "it wrote: <> <there>" in stand_in('echo "<$LISTWRIGHT_API_KEYS> <$ANOTHER>" >&2')


def test_the_trial_of_a_service_that_gives_way_more_than_it_keeps_that_priority(tmp_path: Path) -> None:
    command = ["nice", "-n", "11", sys.executable, "-c", HANG, str(write_hanging(tmp_path))]
    with subprocess.Popen(command, env=environment()) as parent:
        try:
            until(lambda: children(parent.pid))
            (child,) = children(parent.pid)
            own = os.getpriority(os.PRIO_PROCESS, parent.pid)
            group = Path(f"/proc/{child}/autogroup")  # Not every Linux has it.
            until(lambda: not group.exists() or group.read_text().split()[-1] == str(own))
            assert own > 7
            assert os.getpriority(os.PRIO_PROCESS, child) == own
        finally:
            parent.send_signal(signal.SIGKILL)
    until(lambda: not runs(child))


def test_a_trial_ends_with_its_parent_however_that_ends_and_hears_no_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANG, str(write_hanging(tmp_path))]
    with subprocess.Popen(command, env=environment()) as parent:
        try:
            until(lambda: children(parent.pid))
            (child,) = children(parent.pid)
            until(lambda: os.getpriority(os.PRIO_PROCESS, child) == 7)
            assert os.getsid(child) == child
            group = Path(f"/proc/{child}/autogroup")  # Not every Linux has it.
            until(lambda: not group.exists() or group.read_text().split()[-1] == "7")
            until(lambda: Path(f"/proc/{child}/oom_score_adj").read_text().strip() == "1000")
        finally:
            parent.send_signal(signal.SIGKILL)
    until(lambda: not runs(child))
