"""A retired model is freed when nothing is in progress, and after a while in any case."""

from __future__ import annotations

import asyncio
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
