"""A retired model is freed when nothing is in progress, and after a while in any case."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest

from service.bundles import retired
from service.bundles.retired import Retired
from tests.service.live import fake_model


async def gone(refs: list[Callable[[], object]]) -> None:
    async with asyncio.timeout(10):
        while any(ref() is not None for ref in refs):
            await asyncio.sleep(0.001)


def keep_two(kept: Retired) -> list[Callable[[], object]]:
    models = [fake_model(), fake_model()]
    for model in models:
        kept.keep(model)
    return [weakref.ref(model.engine) for model in models]


def test_it_waits_until_nothing_is_in_progress() -> None:
    idle: list[bool] = []

    async def work() -> None:
        refs = keep_two(Retired(lambda: bool(idle)))
        await asyncio.sleep(0.03)
        assert all(ref() is not None for ref in refs)
        idle.append(True)
        await gone(refs)

    asyncio.run(work())


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired, "_LONGEST_SECONDS", 0.02)
    asyncio.run(gone_without_a_pause())


async def gone_without_a_pause() -> None:
    await gone(keep_two(Retired(lambda: False)))


def test_memory_is_given_back_once_the_last_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    async def work() -> None:
        kept = Retired(lambda: True)
        monkeypatch.setattr(retired, "trim_memory", lambda: left.append(len(kept._models)))
        await gone(keep_two(kept))
        async with asyncio.timeout(10):
            while not left:
                await asyncio.sleep(0.001)

    asyncio.run(work())
    assert left == [0]


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc can give memory back"
)
def test_freed_memory_returns_to_the_system() -> None:
    """Small parts between others that stay: without the call the C library would keep all of it."""
    program = (
        "from service.bundles.retired import trim_memory\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "parts = [bytes(5000) for _ in range(40_000)]\n"
        "kept, parts = parts[::100], None\n"
        "before = resident()\n"
        "trim_memory()\n"
        "print((before - resident()) // 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 50
