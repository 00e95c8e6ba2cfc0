"""Engine processes that end while they load, or do not come: passing faults, and those that stay."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from service.bundles.model import BundleError
from service.workers import heartbeat
from service.workers.crew import Crew
from service.workers.engines import Engines, Generation
from service.workers.fleet import Fleet
from service.workers.handle import EngineFailed
from tests.service.live import WAIT_SECONDS, make_settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no engine processes")
FILES = {"model.onnx": "a"}
CHILD = """
import json, os, pathlib, signal, socket, sys
fates = pathlib.Path({fates!r})
fate, *rest = fates.read_text().split() or ["serve"]
fates.write_text(" ".join(rest))
with socket.socket(fileno=int(sys.argv[4])) as control, control.makefile("rwb", 0) as channel:
    for line in channel:
        order = json.loads(line)
        kind, reply = order["command"]["type"], {{"type": "Done", "id": order["id"]}}
        if kind == "Start":
            if fate == "no-start":
                sys.exit(1)
            reply = {{"type": "Beat"}}
        elif kind == "LoadModel":
            if fate == "killed" or fate == order["command"]["version"]:
                os.kill(os.getpid(), signal.SIGKILL)
            reply |= {{"type": "Prepared", "files": {files!r}}}
        channel.write(json.dumps(reply).encode() + b"\\n")
"""


@pytest.fixture
def fates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what becomes of the next engine processes, one word for each; those after them serve."""
    found, launcher = tmp_path / "fates", tmp_path / "python"
    launcher.write_text(f"#!{sys.executable}\n" + CHILD.format(fates=str(found), files=FILES))
    launcher.chmod(stat.S_IRWXU)
    found.write_text("")
    monkeypatch.setattr(sys, "executable", str(launcher))
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", float(WAIT_SECONDS))  # They beat but once.
    return found


def with_engines(folder: Path, work: Callable[[Engines], Awaitable[None]], count: int = 1, **settings: Any) -> None:
    async def main() -> None:
        made = make_settings(provider="cpu", engine_processes=count, **settings)
        engines = Engines(made, folder, on_end=lambda _: None, give_up=lambda _: None)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await work(engines)
        finally:
            await engines.stop()

    asyncio.run(main())


async def stage(engines: Engines, version: str = "1", files: dict[str, str] = FILES) -> None:
    """Stage a version, and drop it again."""
    engines.drop(await engines.stage({}, "tiny", version, files))


def test_a_process_that_ends_as_it_loads_is_tried_again_and_a_second_one_refuses_the_bundle(
    tmp_path: Path, fates: Path
) -> None:
    async def work(engines: Engines) -> None:
        fates.write_text("killed")
        with pytest.raises(EngineFailed, match=r"has ended, when an engine process loaded tiny/1"):
            await stage(engines)
        await stage(engines)
        fates.write_text("killed killed killed")
        with pytest.raises(EngineFailed):  # That it was loaded meanwhile has cleared it.
            await stage(engines)
        with pytest.raises(BundleError, match=r"has ended, when an engine process loaded tiny/1"):
            await stage(engines)
        with pytest.raises(EngineFailed):  # An operator who asks for it again has two tries again.
            await stage(engines)

    with_engines(tmp_path, work)


def test_deaths_at_other_files_and_at_other_models_are_not_counted_together(tmp_path: Path, fates: Path) -> None:
    async def work(engines: Engines) -> None:
        fates.write_text("killed killed killed")
        for version, files in (("1", {"model.onnx": "b"}), ("2", FILES), ("1", FILES)):
            with pytest.raises(EngineFailed):
                await stage(engines, version, files)
        live = {("tiny", "0"): FILES}
        fates.write_text("0 0 0")
        for _ in range(3):
            with pytest.raises(EngineFailed, match="tiny/0, which is live, cannot be loaded"):
                await engines.stage(live, "tiny", "3", FILES)

    with_engines(tmp_path, work)


def test_processes_that_end_before_they_load_say_nothing_about_the_bundle(tmp_path: Path, fates: Path) -> None:
    async def work(engines: Engines) -> None:
        fates.write_text("no-start no-start no-start")
        for _ in range(3):
            with pytest.raises(EngineFailed, match="ended before it could load anything"):
                await stage(engines)
        await stage(engines)

    with_engines(tmp_path, work)


def test_two_processes_of_one_try_that_end_together_count_once(tmp_path: Path) -> None:
    async def work(engines: Engines) -> None:
        tries = [Generation(number, {("tiny", "1"): FILES}, ("tiny", "1"), []) for number in range(2)]
        assert [engines._has_died_before(one) for one in (tries[0], tries[0], tries[1])] == [False, False, True]

    with_engines(tmp_path, work)


def test_a_death_beside_the_one_that_refused_a_bundle_is_forgotten_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(engines: Engines) -> None:
        async def start(generation: Generation, _: int) -> None:
            raise BundleError("twice") if engines._has_died_before(generation) else EngineFailed("once")

        monkeypatch.setattr(engines, "_start", start)
        for problem in (EngineFailed, BundleError, EngineFailed, BundleError):
            with pytest.raises(problem):
                await stage(engines)

    with_engines(tmp_path, work, 2)


def test_a_worker_waits_for_its_engine_process_as_long_as_all_models_may_take_to_load(tmp_path: Path) -> None:
    async def work(engines: Engines) -> None:
        await engines.listens(0)  # Before the first model is live.
        engines._load_seconds = 0.05
        models = {("tiny", version): FILES for version in ("1", "2")}
        engines._used = used = Generation(0, models, ("tiny", "2"), [])
        with pytest.raises(EngineFailed, match=r"no engine process has listened in place 0 within 0\.1 s"):
            await engines.listens(3)
        engines._load_seconds = WAIT_SECONDS
        waiting = asyncio.create_task(engines.listens(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        used.processes[0] = Mock(wait=AsyncMock(return_value=0))
        await waiting

    with_engines(tmp_path, work)


@pytest.mark.parametrize("manned", [False, True])
def test_without_its_engine_process_a_worker_is_given_up_and_the_service_if_no_other_is_there(
    tmp_path: Path, manned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(engines: Engines) -> None:
        engines._load_seconds = 0.01
        engines._used = Generation(0, {("tiny", "1"): FILES}, ("tiny", "1"), [])
        given_up, worker, settings = Mock(), Mock(slot=0), make_settings(workers=2)
        worker.started, worker.unless_gone = AsyncMock(), _result
        fleet = Fleet(settings, Mock(), Mock(), Mock(), engines=engines)
        if manned:
            await fleet.add(Mock())
        crew = Crew(settings, Mock(), fleet, Mock(), Mock(), give_up=given_up)
        assert not await crew._join(worker)
        worker.terminate.assert_called_once_with()
        assert (crew.failed, given_up.called) == (not manned, not manned)

    with_engines(tmp_path, work)
    assert "cannot serve the live versions: no engine process has listened" in caplog.text
    assert ("no worker is left, and none can be replaced: the service stops" in caplog.text) is not manned


async def _result(work: Coroutine[Any, Any, None]) -> None:
    await work
