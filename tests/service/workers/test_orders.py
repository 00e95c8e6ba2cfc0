"""Orders of the supervisor that come while a worker still carries out others."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from service.workers import messages
from service.workers.messages import NumberedCommand
from service.workers.worker import Worker
from tests.service.bundles.test_switching import in_loop


class SlowLoader:
    """A loader that has begun to open catalogues, and never ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.given_up = False

    async def prepare_catalogues(self, _: Any) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True


@in_loop
async def test_a_switch_that_is_aborted_while_catalogues_are_opened_leaves_none_open() -> None:
    loader, sent = SlowLoader(), list[Any]()
    core: Any = SimpleNamespace(registry=None, loader=loader, catalogues=None)
    unused: Any = None
    channel: Any = SimpleNamespace(send=sent.append)
    worker = Worker(core, unused, channel, unused, unused, asyncio.Event())
    order = asyncio.create_task(worker._carry_out(NumberedCommand(1, messages.PrepareCatalogues(7, []))))
    await asyncio.wait_for(loader.begun.wait(), 30)
    await worker._carry_out(NumberedCommand(2, messages.Abort(7)))
    await asyncio.wait([order])
    assert loader.given_up
    assert sent == [messages.Done(2)]
    assert not worker._parts
    assert not worker._opening
