"""Switch the models of all workers as one.

A version is live in all or none. Where engine processes run the models, they are switched with the workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.bundles.model import BundleError
from service.status import ModelStatus
from service.workers import messages
from service.workers.asking import ask_all
from service.workers.engines import Engines, Generation, Models
from service.workers.fleet_part import GiveUp
from service.workers.handle import ProcessGone, WorkerProcess

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedModel:
    """A version that all workers have prepared."""

    number: int
    name: str
    version: str
    files: dict[str, str]
    workers: Sequence[WorkerProcess]
    generation: Generation | None


class ModelPart:
    """Do both phases of a switch of one version. Used from the event loop only.

    `numbers` are those of the switches, which scenes and catalogues have from the same source. A worker that takes
    longer than `seconds` to prepare is late. Without `engines` each worker runs the models itself.
    """

    def __init__(self, numbers: Iterator[int], give_up: GiveUp, seconds: float, engines: Engines | None) -> None:
        self._numbers = numbers
        self._give_up = give_up
        self._seconds = seconds
        self._engines = engines

    async def stage(
        self,
        workers: Sequence[WorkerProcess],
        others: Models,
        name: str,
        version: str,
        tried: dict[str, str],
    ) -> StagedModel:
        """Do the first phase, with the files that have been `tried`.

        `others` will be live beside it. Raises `BundleError`, `ProcessGone` or `RuntimeError`, and then all is as
        before.
        """
        generation = None
        if self._engines is not None:
            generation = await self._engines.stage(others, name, version, tried)
        staged = StagedModel(next(self._numbers), name, version, tried, workers, generation)
        try:
            if any(answer.files != tried for answer in await self._ask(staged)):
                raise BundleError(f"{name}/{version}: its files have changed since they were tried")
        except BaseException:
            self.drop(staged)
            raise
        return staged

    async def _ask(self, staged: StagedModel) -> Sequence[messages.Prepared]:
        """Let all workers prepare a version, while its engine processes live."""
        asked = ask_all(staged.workers, lambda worker: _prepare(staged, worker), messages.Prepared, self._seconds)
        if self._engines is None or staged.generation is None:
            return await asked
        return await self._engines.beside(staged.generation, asked)

    def drop(self, staged: StagedModel) -> None:
        """Give up a version that was to serve."""
        for worker in staged.workers:
            worker.tell(messages.Abort(staged.number))
        if self._engines is not None and staged.generation is not None:
            self._engines.drop(staged.generation)

    async def serve(self, staged: StagedModel) -> ModelStatus | None:
        """Do the second phase; return None if all workers ended in it.

        There is no way back: a worker that does not switch is replaced by one that starts with this version.
        """
        if self._engines is not None and staged.generation is not None:
            self._engines.use(staged.generation)
        statuses = await asyncio.gather(*(self._commit(worker, staged.number) for worker in staged.workers))
        _log.info("all workers serve model %s version %s", staged.name, staged.version)
        return next((status for status in statuses if status is not None), None)

    async def ready_for(self, worker: WorkerProcess) -> None:
        """Wait until a later worker can be brought to the live versions.

        Raises `EngineFailed` if its engine process does not come.
        """
        if self._engines is not None:
            await self._engines.listens(worker.slot)

    async def join(self, worker: WorkerProcess, live: Models) -> None:
        """Bring a later worker to the live versions. Raises `BundleError`, `ProcessGone` or `RuntimeError`."""
        generation = None if self._engines is None else self._engines.used
        for (name, version), files in live.items():
            staged = StagedModel(next(self._numbers), name, version, files, [worker], generation)
            if (await worker.ask(_prepare(staged, worker), messages.Prepared, self._seconds)).files != files:
                raise BundleError(f"{name}/{version}: its files have changed since it went live")
            await worker.ask(messages.Commit(staged.number), messages.Described)

    async def _commit(self, worker: WorkerProcess, number: int) -> ModelStatus | None:
        """Return the model as the worker serves it; end a worker that hangs."""
        try:
            (model,) = (await worker.ask(messages.Commit(number), messages.Described)).models
            return ModelStatus.model_validate(model)
        except (ProcessGone, RuntimeError) as error:
            self._give_up(worker, error)
            return None


def _prepare(staged: StagedModel, worker: WorkerProcess) -> messages.Prepare:
    """Make the order of the first phase for one worker."""
    engine = None
    if staged.generation is not None:
        paths = staged.generation.paths
        engine = str(paths[worker.slot % len(paths)])
    return messages.Prepare(staged.number, staged.name, staged.version, engine)
