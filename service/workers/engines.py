"""Keep the engine processes that run models for the workers.

An engine process never loads a model while it serves: a reload starts new ones beside it, with the live models and the
new one. When all workers have switched, the old ones end. So for a moment there are two on each device.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from service.bundles.model import BundleError
from service.settings import Settings
from service.workers import messages
from service.workers.handle import ANSWER_SECONDS, End, EngineFailed, EngineProcess, ProcessGone, ProcessLate
from service.workers.restarts import REFUSED_SECONDS, Restarts, tell_of_fault

_log = logging.getLogger(__name__)
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process may use."""

_END_SECONDS: Final = 3.0
"""Most time for a process to end whose workers have left."""

_LOOK_SECONDS: Final = 0.05
_SEEN_SECONDS: Final = 0.5

T = TypeVar("T")
Models = Mapping[tuple[str, str], dict[str, str]]
"""The identities of models, by name and version."""


@dataclass(eq=False)
class Generation:
    """Hold the engine processes that run the same models and listen.

    There is at most one in each place; `paths` are those of their sockets.
    """

    number: int
    models: Models
    added: tuple[str, str]
    """The model that it was started for."""
    paths: list[Path]
    processes: dict[int, EngineProcess] = field(default_factory=dict)


class Engines:
    """Hold the generation in use, and those that may be next.

    Used from the event loop only. `on_end` is told why a process ended that should not have, and `give_up` why none can
    be kept running.
    """

    def __init__(
        self, settings: Settings, folder: Path, *, on_end: Callable[[End], None], give_up: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._on_end = on_end
        self._give_up = give_up
        self._places = range(settings.engine_processes or 1)
        self._load_seconds = settings.load_timeout_seconds + ANSWER_SECONDS
        self._numbers = itertools.count()
        self._restarts = Restarts(len(self._places))
        self._used: Generation | None = None
        self._staged: list[Generation] = []
        self._died: dict[tuple[str, str], Generation] = {}
        """By the model that a process was loading as it ended: the generation of that process."""
        self._keepers: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[int]] = set()
        self._stopping = False

    @property
    def size(self) -> int:
        """Number of engine processes that run models for workers."""
        return 0 if self._used is None else sum(process.answers for process in self._used.processes.values())

    @property
    def wanted(self) -> int:
        """Number of those that should: none before the first model is live."""
        return 0 if self._used is None else len(self._places)

    @property
    def used(self) -> Generation | None:
        """The generation that serves."""
        return self._used

    async def listens(self, slot: int) -> None:
        """Wait until the engine process of a worker's slot listens.

        Before the first model is live there is none. Raises `EngineFailed` if that takes longer than it takes to load
        all models: it cannot be replaced, and connections may be waiting for this worker.
        """
        place = slot % len(self._places)
        limit = self._load_seconds * (0 if self._used is None else len(self._used.models))
        try:
            async with asyncio.timeout(limit):
                while self._used is not None and place not in self._used.processes:
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise EngineFailed(f"no engine process has listened in place {place} within {limit:g} s") from None

    async def stage(self, others: Models, name: str, version: str, files: dict[str, str]) -> Generation:
        """Start a generation that runs this model.

        It also runs all `others` that stay live, and all staged ones. Raises `BundleError` or `EngineFailed`; then no
        process of it is left. A process that ends as it loads the model is at first an `EngineFailed`, and at the next
        try a `BundleError`.
        """
        staged = {one.added: one.models[one.added] for one in self._staged}
        number, added = next(self._numbers), (name, version)
        paths = [self._folder / f"{number}-{place}.sock" for place in self._places]
        made = Generation(number, {**others, **staged, added: files}, added, paths)
        starts = [asyncio.create_task(self._start(made, place)) for place in self._places]
        try:
            await asyncio.gather(*starts)
            if self._stopping:
                raise EngineFailed("the service stops")
        except BaseException as error:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            self._end(made)
            if isinstance(error, BundleError):  # Another process of this try may have died since.
                self._died.pop(added, None)
            raise
        self._staged.append(made)
        return made

    async def beside(self, generation: Generation, work: Coroutine[Any, Any, T]) -> T:
        """Do work that is in vain without all processes of this generation.

        Raises `EngineFailed` once one has ended.
        """
        task = asyncio.create_task(work)
        ends = [asyncio.create_task(process.wait()) for process in generation.processes.values()]
        try:
            await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and task.exception() is not None:  # A worker may see the end of a process first.
                await asyncio.wait(ends, timeout=_SEEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if any(end.done() for end in ends):
                raise EngineFailed("an engine process ended before it served")
            return task.result()
        finally:
            for one in (task, *ends):
                one.cancel()
            await asyncio.wait({task, *ends})

    def use(self, generation: Generation) -> None:
        """Let a staged generation serve, and end the one before.

        If a later one serves already, which has the same models and more, this one ends.
        """
        if generation not in self._staged:  # All have been ended meanwhile.
            return
        self._staged.remove(generation)
        if self._stopping or (self._used is not None and self._used.number > generation.number):
            self._end(generation)
            return
        self._stop_keeping()
        if self._used is not None:
            self._end(self._used)
        self._used = generation
        self._keepers = [asyncio.create_task(self._keep(generation, place)) for place in self._places]
        for keeper in self._keepers:
            tell_of_fault(keeper, "an engine process", self._give_up)

    def drop(self, generation: Generation) -> None:
        """End a staged generation that is not to serve."""
        if generation in self._staged:  # Else all have been ended meanwhile.
            self._staged.remove(generation)
            self._end(generation)

    def stopping(self) -> None:
        """Note that processes end from now on, as their workers leave."""
        self._stopping = True

    async def stop(self) -> None:
        """End all, once their workers have left."""
        self._stopping = True
        keepers = self._keepers
        self._stop_keeping()
        await asyncio.gather(*keepers, return_exceptions=True)
        for generation in [*self._staged, *([self._used] if self._used else [])]:
            self._end(generation, _END_SECONDS)
        self._staged, self._used = [], None
        while self._leaving:
            await asyncio.wait(self._leaving)

    async def _start(self, generation: Generation, place: int) -> None:
        """Start a process with all models of its generation, and let it listen.

        Raises `BundleError` or `EngineFailed`; then it ends.
        """
        try:
            process = await EngineProcess.start(place, self._settings, self._device(place))
        except OSError as error:
            raise EngineFailed(f"no engine process can be started: {error}") from None
        try:
            await process.started()
            if not process.answers:
                raise EngineFailed(f"{process} ended before it could load anything")
            await self._load(process, generation)
            await process.ask(messages.ListenAt(str(generation.paths[place])), messages.Done)
        except BaseException as error:
            self._see_off(process)
            if isinstance(error, ProcessGone | ProcessLate):
                raise EngineFailed(str(error)) from None
            raise
        generation.processes[place] = process

    async def _load(self, process: EngineProcess, generation: Generation) -> None:
        """Load all models of a generation.

        Raises `BundleError` only if it is the added one that cannot be loaded, else `EngineFailed`.
        """
        quietly = self._used not in (None, generation)
        for (name, version), files in generation.models.items():
            try:
                order = messages.LoadModel(name, version, quietly)
                loaded = (await process.ask(order, messages.Prepared, self._load_seconds)).files
                if loaded != files:
                    raise BundleError(f"{name}/{version}: its files have changed since they were tried")
            except (BundleError, ProcessGone, ProcessLate) as error:
                if (name, version) == generation.added:
                    why = f"{error}, when an engine process loaded {name}/{version}"
                    if isinstance(error, BundleError) or self._has_died_before(generation):
                        raise BundleError(why) from None
                    raise EngineFailed(why) from None
                why = f"{name}/{version}, which is live, cannot be loaded into a new engine process"
                raise EngineFailed(f"{why}: {error}") from None

        self._died.pop(generation.added, None)

    def _has_died_before(self, generation: Generation) -> bool:
        """Tell whether a process of an earlier generation ended at the same model, too.

        One may be killed for want of memory, or find its device busy, which says nothing about the model.
        """
        before = self._died.pop(generation.added, generation)
        files = generation.models[generation.added]
        if before is not generation and before.models[before.added] == files:
            return True
        self._died[generation.added] = generation
        return False

    def _device(self, place: int) -> dict[str, str]:
        """Return the variables that give the process in a place a GPU of its own."""
        if self._settings.provider != "cuda":
            return {}
        return {VISIBLE: visible_devices(len(self._places))[place]}

    async def _keep(self, generation: Generation, place: int) -> None:
        """Replace the process in this place whenever it ends."""
        while True:
            process = generation.processes[place]
            status = await process.wait()
            del generation.processes[place]
            if self._stopping:
                return
            _log.error("%s ended with status %d", process, status)
            self._on_end(process.why_ended(status))
            delay = self._restarts.next_delay()
            if delay is None:
                self._give_up(f"engine processes have ended more than {self._restarts.most} times in a minute")
                return
            await asyncio.sleep(delay)
            while not await self._replace(generation, place):
                await asyncio.sleep(REFUSED_SECONDS)
            _log.info("%s serves", generation.processes[place])

    async def _replace(self, generation: Generation, place: int) -> bool:
        """Start the next process in this place; False if it does not come to listen."""
        try:
            await self._start(generation, place)
        except (BundleError, RuntimeError) as error:
            _log.error("an engine process cannot be replaced: %s", error)
            return False
        return True

    def _stop_keeping(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        self._keepers = []

    def _end(self, generation: Generation, seconds: float | None = None) -> None:
        """Tell the processes of a generation to end when their workers have left."""
        for process in generation.processes.values():
            self._see_off(process, seconds)

    def _see_off(self, process: EngineProcess, seconds: float | None = None) -> None:
        """Tell a process to end when its workers have left."""
        process.terminate(seconds)
        leaving = asyncio.create_task(process.wait())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


def visible_devices(most: int) -> list[str]:
    """Return the names of the GPUs that this process may use.

    Where nothing limits it, they are the first `most`.
    """
    named = os.environ.get(VISIBLE)
    names = [name.strip() for name in (named or "").split(",")]
    return [name for name in names if name] if named else [str(device) for device in range(most)]
