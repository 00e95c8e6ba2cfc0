"""The supervisor's own faults: none leaves a place empty or is unheard of."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from service.workers import restarts, supervisor
from service.workers.crew import Crew
from service.workers.handle import Hear, ProcessGone, WorkerProcess
from tests.service.live import WAIT_SECONDS, make_settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no workers")
SCRAPE = b'{"type":"Scrape","number":1,"accept":""}'


def unheard(*_: Any) -> None:
    """Hear a worker, and do nothing."""


async def start(hear: Hear = unheard) -> WorkerProcess:
    with socket.create_server(("127.0.0.1", 0)) as public:
        return await WorkerProcess.start(0, public, make_settings(), hear)


@pytest.fixture
def saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what every worker says to the supervisor, and nothing else, before it sleeps."""
    said, launcher = tmp_path / "said", tmp_path / "python"
    launcher.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        f"os.write(int(sys.argv[4]), open({str(said)!r}, 'rb').read())\n"
        "time.sleep(600)\n"
    )
    launcher.chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(launcher))
    return said


@pytest.mark.long
def test_a_fault_in_keeping_a_worker_ends_the_service_with_an_error_that_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> bool:
        raise KeyError("no such thing")

    monkeypatch.setattr(restarts, "_FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(Crew, "_replace", fail)
    settings = make_settings(workers=2, provider="cpu", port=0, bundles=str(tmp_path))

    async def supervise() -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            return await supervisor.supervise(settings)

    assert asyncio.run(supervise()) == 1
    (first, *_) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert first.getMessage() == "a worker cannot be replaced: the service stops"
    assert "no such thing" in caplog.text


@pytest.mark.parametrize("said", [b"what?\n", SCRAPE + b"\n"])
def test_a_worker_that_cannot_be_understood_is_killed_and_its_end_is_seen(said: bytes, saying: Path) -> None:
    saying.write_bytes(said)

    def misunderstand(*_: Any) -> None:
        raise KeyError("a fault of the supervisor")

    async def main() -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            worker = await start(misunderstand)
            with pytest.raises(ProcessGone):
                await worker.unless_gone(asyncio.sleep(3600))
            return await worker.wait()

    assert asyncio.run(main()) == -signal.SIGKILL


def test_what_needs_a_worker_ends_with_it_and_lets_go_of_what_it_waits_for(saying: Path) -> None:
    saying.write_bytes(b'{"type":"Beat"}\n')

    async def main() -> None:
        lock = asyncio.Lock()

        async def join() -> str:
            await worker.started()
            async with lock:
                return "joined"

        worker = await start()
        async with asyncio.timeout(WAIT_SECONDS):
            assert await worker.unless_gone(join()) == "joined"
            async with lock:
                waiting = asyncio.create_task(worker.unless_gone(join()))
                await worker.started()
                worker.terminate()
                with pytest.raises(ProcessGone):
                    await waiting
            assert not lock.locked()
            assert await worker.wait() == -signal.SIGTERM

    asyncio.run(main())
