"""Reloads that are wanted many times, and faults of the service's own while it looks after the bundles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from service.bundles.chores import Chores
from tests.service.live import WAIT_SECONDS


class Faulty:
    """A switcher that counts what it is asked for; the first of each kind fails."""

    def __init__(self) -> None:
        self.reloads = self.watches = 0
        self.go = asyncio.Event()

    async def reload_all(self) -> None:
        self.reloads += 1
        await self.go.wait()
        if self.reloads == 1:
            raise RuntimeError("a fault in a reload")

    async def watch(self) -> NoReturn:
        self.watches += 1
        if self.watches == 1:
            raise RuntimeError("a fault in the watch")
        await asyncio.Event().wait()
        raise AssertionError


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def test_any_number_of_wishes_during_a_reload_are_one_more_and_no_fault_ends_the_chores(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        switcher: Any = Faulty()
        chores = Chores(switcher)
        tasks = [asyncio.create_task(work) for work in (chores.reloads.run(), chores.watch())]
        chores.reloads.want()
        await until(lambda: switcher.reloads)
        for _ in range(100):
            chores.reloads.want()
        switcher.go.set()
        await until(lambda: switcher.reloads == 2 and switcher.watches == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (switcher.reloads, switcher.watches) == (2, 2)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    asyncio.run(main())
    assert "a fault in a reload" in caplog.text
    assert "a fault in the watch" in caplog.text
