"""Switch what all workers hold beside their models as one: the scenes, and the catalogues.

That has two phases: all check it, or open it, before any lets it serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from models.contract.catalogue.manifest import CatalogueError
from service.bundles.model import BundleError
from service.catalogues.load import CheckedCatalogue
from service.scenes.reading import SceneMap
from service.scenes.scene import SceneError
from service.workers import messages
from service.workers.asking import ask_all
from service.workers.handle import ANSWER_SECONDS, ProcessGone, WorkerProcess

GiveUp = Callable[[WorkerProcess, Exception], None]
"""Ends a worker that did not do its part of the second phase, if it has not ended by itself."""

Content = TypeVar("Content")
PreparePart = messages.PrepareScenes | messages.PrepareCatalogues


class FleetPart(Generic[Content]):
    """Hold one part of what all workers serve. Used from the event loop only.

    `prepare` makes the order of the first phase for a switch of this number; `numbers` are those of the switches, which
    bundles have from the same source. A worker's refusal is raised as `refusal`, and one that takes longer than
    `seconds` to prepare is late.
    """

    def __init__(
        self,
        part: messages.Part,
        prepare: Callable[[int, Content], PreparePart],
        refusal: Callable[[str], Exception],
        numbers: Iterator[int],
        give_up: GiveUp,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._part = part
        self._make = prepare
        self._refusal = refusal
        self._numbers = numbers
        self._give_up = give_up
        self._seconds = seconds
        self._failure: str | None = None
        self.live: Content | None = None
        """What all workers serve; None before the first switch."""

    async def switch(self, workers: Sequence[WorkerProcess], content: Content) -> None:
        """Let this serve in all workers.

        Raises a refusal, `ProcessGone` or `RuntimeError`, and then nothing has changed.
        """
        order = self._make(next(self._numbers), content)
        await self._prepare(workers, order)
        # From here on there is no way back: a worker that does not switch is replaced by one that starts with this.
        self.live = content
        await asyncio.gather(*(self._commit(worker, order.switch) for worker in workers))

    async def join(self, worker: WorkerProcess) -> None:
        """Bring a later worker to what is live. Raises a refusal, `ProcessGone` or `RuntimeError`."""
        if self.live is not None:
            order = self._make(next(self._numbers), self.live)
            await self._prepare([worker], order)
            await worker.ask(messages.CommitPart(order.switch), messages.Done)
        if self._failure is not None:
            await worker.ask(messages.FailPart(self._part, self._failure), messages.Done)

    def fail(self, workers: Sequence[WorkerProcess], reason: str | None) -> None:
        """Tell all workers why that of the start does not serve; None if it does."""
        self._failure = reason
        for worker in workers:
            worker.tell(messages.FailPart(self._part, reason))

    async def _prepare(self, workers: Sequence[WorkerProcess], order: PreparePart) -> None:
        """Do the first phase in all workers, or undo it. Raises like `switch`."""
        try:
            await ask_all(workers, lambda _: order, messages.Done, self._seconds)
        except BaseException as problem:
            for worker in workers:
                worker.tell(messages.Abort(order.switch))
            if isinstance(problem, BundleError):  # What `ask` makes of any refusal.
                raise self._refusal(str(problem)) from None
            raise

    async def _commit(self, worker: WorkerProcess, number: int) -> None:
        try:
            await worker.ask(messages.CommitPart(number), messages.Done)
        except (ProcessGone, RuntimeError) as error:
            self._give_up(worker, error)


def scenes_part(numbers: Iterator[int], give_up: GiveUp) -> FleetPart[SceneMap]:
    """Make the part that is the scenes; its refusals are `SceneError`."""

    def prepare(number: int, scenes: SceneMap) -> PreparePart:
        return messages.PrepareScenes(number, list(scenes.values()))

    return FleetPart("scenes", prepare, SceneError, numbers, give_up)


def catalogues_part(numbers: Iterator[int], give_up: GiveUp, seconds: float) -> FleetPart[Sequence[CheckedCatalogue]]:
    """Make the part that is the catalogues; its refusals are `CatalogueError`."""

    def prepare(number: int, catalogues: Sequence[CheckedCatalogue]) -> PreparePart:
        return messages.PrepareCatalogues(number, list(catalogues))

    return FleetPart("catalogues", prepare, CatalogueError, numbers, give_up, seconds=seconds)
