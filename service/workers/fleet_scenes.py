"""Switch the scenes of all workers as one.

That has two phases: all check the scenes before any lets them serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from service.bundles.model import BundleError
from service.scenes.reading import NO_SCENES, SceneMap
from service.scenes.scene import SceneError
from service.workers import messages
from service.workers.handle import WorkerGone, WorkerProcess

GiveUp = Callable[[WorkerProcess, Exception], None]
"""Ends a worker that did not do its part of the second phase, if it has not ended by itself."""


class FleetScenes:
    """Hold the scenes of all workers. Used from the event loop only.

    `numbers` are those of the switches, which bundles have from the same source.
    """

    def __init__(self, numbers: Iterator[int], give_up: GiveUp) -> None:
        self._numbers = numbers
        self._give_up = give_up
        self._live: SceneMap | None = None
        self._failure: str | None = None

    @property
    def live(self) -> SceneMap:
        """Return the scenes that all workers serve."""
        return NO_SCENES if self._live is None else self._live

    async def switch(self, workers: Sequence[WorkerProcess], scenes: SceneMap) -> None:
        """Let these scenes serve in all workers.

        Raises `SceneError`, `WorkerGone` or `RuntimeError`, and then nothing has changed.
        """
        order = messages.PrepareScenes(next(self._numbers), list(scenes.values()))
        await self._prepare(workers, order)
        # From here on there is no way back: a worker that does not switch is replaced by one that starts with these.
        self._live, self._failure = scenes, None
        await asyncio.gather(*(self._commit(worker, order.switch) for worker in workers))

    async def join(self, worker: WorkerProcess) -> None:
        """Bring a later worker to the live scenes. Raises `SceneError`, `WorkerGone` or `RuntimeError`."""
        if self._live is not None:
            order = messages.PrepareScenes(next(self._numbers), list(self._live.values()))
            await self._prepare([worker], order)
            await worker.ask(messages.CommitScenes(order.switch), messages.Done)
        elif self._failure is not None:
            await worker.ask(messages.FailScenes(self._failure), messages.Done)

    def fail(self, workers: Sequence[WorkerProcess], reason: str) -> None:
        """Tell all workers why the scenes of the start do not serve."""
        self._failure = reason
        for worker in workers:
            worker.tell(messages.FailScenes(reason))

    async def _prepare(self, workers: Sequence[WorkerProcess], order: messages.PrepareScenes) -> None:
        """Do the first phase in all workers, or undo it. Raises like `switch`."""
        if not workers:
            raise WorkerGone("no worker is running")
        asked = (worker.ask(order, messages.Done) for worker in workers)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        problems = [answer for answer in answers if isinstance(answer, BaseException)]
        if problems:
            for worker in workers:
                worker.tell(messages.Abort(order.switch))
            # Report a refusal rather than a worker that has gone: it says more.
            problem = min(problems, key=lambda p: isinstance(p, WorkerGone))
            raise SceneError(str(problem)) if isinstance(problem, BundleError) else problem

    async def _commit(self, worker: WorkerProcess, number: int) -> None:
        try:
            await worker.ask(messages.CommitScenes(number), messages.Done)
        except (WorkerGone, RuntimeError) as error:
            self._give_up(worker, error)
