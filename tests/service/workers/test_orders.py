"""Orders of the supervisor that come while a worker still carries out others."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.bundles.model import BundleError, Interrupted
from service.engines.link import EngineLink
from service.workers import messages
from service.workers.handle import EngineFailed, _problem
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


@pytest.mark.parametrize(
    ("problem", "lost", "raised"),
    [
        (BundleError("no manifest"), 0, BundleError("no manifest")),
        (BundleError("warming failed"), 1, EngineFailed("the engine process was lost: warming failed")),
        (Interrupted("no engine process has listened"), 0, EngineFailed("no engine process has listened")),
        (ZeroDivisionError("of ours"), 0, RuntimeError("a worker failed: of ours")),
    ],
    ids=repr,
)
def test_a_bundle_is_not_refused_because_an_engine_process_was_not_reached(
    problem: Exception, lost: int, raised: Exception
) -> None:
    async def work() -> list[Any]:
        link, sent = EngineLink(), list[Any]()

        async def prepare(*_: Any) -> None:
            link.lost += lost
            raise problem

        core: Any = SimpleNamespace(registry=None, loader=SimpleNamespace(prepare=prepare), catalogues=None)
        unused: Any = None
        channel: Any = SimpleNamespace(send=sent.append)
        worker = Worker(core, unused, channel, unused, unused, asyncio.Event(), link)
        await worker._carry_out(NumberedCommand(1, messages.Prepare(7, "tiny", "1", "/run/0.sock")))
        return sent

    (refused,) = asyncio.run(work())
    told = _problem(refused)
    assert (type(told), str(told)) == (type(raised), str(raised))
