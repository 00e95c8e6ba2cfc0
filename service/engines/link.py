"""Send a worker's jobs to an engine process, whichever serves now.

A reload, and a process that ends, brings a new one. Jobs go to the one in use if it runs their model, else to another
that is connected: one that is to be used next, or the one before, which requests that began with it end with. While
there is none, jobs fail at once, so that requests are answered by the next rung of the ladder.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from weakref import WeakValueDictionary

from service.engines.connection import Connection
from service.engines.remote import RemoteEngine
from service.engines.wire import Key
from service.inference.engine import BatchArrays, Engine, EngineError, Job
from service.inference.run_times import RunTimes

_log = logging.getLogger(__name__)
_NOT_THERE: Final = (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError)
"""The process has not begun to listen, or has ended while it was greeted."""

_RETRY_SECONDS: Final = 0.05

KEPT_SECONDS: Final = 1.0
"""So long the connection before the present one stays, for requests that have begun with a model that it alone runs."""


class EngineLink:
    """Be the queue of a worker's jobs. Used from the event loop only."""

    def __init__(self) -> None:
        self.in_background = 0
        self.lost = 0
        """Connections that have ended without being left."""
        self._times = RunTimes()
        self._connections: dict[Path, Connection] = {}
        """By the path of their socket, in the order in which they were first wanted."""
        self._wanted: list[Path] = []
        self._used: Path | None = None
        self._engines: WeakValueDictionary[Key, RemoteEngine] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, path: Path) -> None:
        """Connect to the engine process at `path`, now and whenever it is replaced.

        It returns once there is a connection. Raises `EngineError` if it may not be spoken to: another user could reach
        it, or it speaks another version.
        """
        if path not in self._wanted:
            self._wanted.append(path)
        await self._connect(path)

    def use(self, path: Path) -> None:
        """Send jobs there from now on, and leave older processes soon. It must be open.

        If a newer one is in use already, nothing changes.
        """
        if path not in self._wanted:  # It has been left for a newer one, which has all its models.
            return
        if self._used is not None and self._wanted.index(self._used) >= self._wanted.index(path):
            return
        self._used = path
        older = self._wanted[: self._wanted.index(path)]
        self._begin(self._leave_later(older))

    def forget(self, path: Path) -> None:
        """Leave a process that is not to be used after all."""
        if path != self._used:
            self._leave(path)

    def engine(self, path: Path, name: str, version: str, digest: str) -> RemoteEngine:
        """Return the engine of a model that the process at `path` runs.

        Raises `EngineError` if it does not.
        """
        key, opened = Key(name, version, digest), self._connections.get(path)
        if opened is None or not opened.runs(key):
            raise EngineError(f"the engine process does not run {name} {version} as its files are now")
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = RemoteEngine(opened.served[key])
        return engine

    @property
    def given_up(self) -> str | None:
        """Reason why no run is made, or None."""
        used = None if self._used is None else self._connections.get(self._used)
        return None if self._used is None or used is not None else "the engine process is being replaced"

    @property
    def depth(self) -> int:
        """Number of this worker's jobs without an answer."""
        return sum(len(opened.pending) for opened in self._connections.values())

    @property
    def idle(self) -> bool:
        """Tell whether no job of this worker waits, nor those of others by now."""
        return not self.depth and all(opened.backlog.is_over for opened in self._connections.values())

    def submit(self, job: Job) -> None:
        """Send `job`; its future gets an `Answer` or an `EngineError`."""
        assert isinstance(job.engine, RemoteEngine)
        opened = self._find(job.engine)
        if opened is None:
            why = self.given_up or f"no engine process runs {job.engine.key.name} {job.engine.key.version}"
            job.future.set_exception(EngineError(why))
            return
        opened.submit(job.engine.key, job)

    def withdraw(self, job: Job) -> None:
        """Drop a job whose future is done, unless it runs already."""
        for opened in self._connections.values():
            if (number := opened.withdraw(job)) is not None:
                opened.backlog.leave(number, job.submitted + self._times.of_jobs(job.engine, 1))

    async def warm(self, engine: Engine, batch: BatchArrays) -> None:
        """Do nothing: an engine process warms its models before it listens."""

    def seconds_until_done(self, engine: Engine, *, background: bool = False) -> float:
        """Estimate the time until a job that is submitted now is done.

        Jobs in the background wait for all others, and others for none of them.
        """
        opened = self._find(engine) if isinstance(engine, RemoteEngine) else None
        if opened is None:
            return 0.0
        return opened.backlog.seconds_until_done(opened.pending.items(), self._times, engine, background=background)

    def run_seconds(self, engine: Engine) -> float:
        """Return a bound for 99 of 100 single runs; 0 before the first run."""
        return self._times.of(engine).bound(1)

    async def close(self) -> None:
        """Leave all processes."""
        for task in self._tasks:
            task.cancel()
        for path in list(self._wanted):
            self._leave(path)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _find(self, engine: RemoteEngine) -> Connection | None:
        """Return the connection in use if it runs this model, else the newest that does."""
        return next((opened for opened in self._by_preference() if opened.runs(engine.key)), None)

    def _by_preference(self) -> Iterator[Connection]:
        if self._used in self._connections:
            yield self._connections[self._used]
        for path in reversed(self._wanted):
            if path != self._used and path in self._connections:
                yield self._connections[path]

    def _note_run(self, key: Key, jobs: int, seconds: float) -> None:
        """Learn from a run."""
        if (engine := self._engines.get(key)) is not None:  # Else its model is gone.
            self._times.add(engine, jobs, seconds)

    async def _connect(self, path: Path) -> None:
        """Connect, trying until it succeeds or the process is wanted no longer.

        Raises `EngineError` as `open` does.
        """
        while path in self._wanted and path not in self._connections:
            try:
                opened = await Connection.open(path, self._note_run, self._lose)
            except _NOT_THERE:
                await asyncio.sleep(_RETRY_SECONDS)
            except OSError as error:
                raise EngineError(f"the engine process cannot be spoken to: {error}") from error
            else:
                self._keep(opened)

    def _keep(self, opened: Connection) -> None:
        """Use a new connection, unless it is wanted no longer or another was faster."""
        if opened.is_open and opened.path in self._wanted and opened.path not in self._connections:
            self._connections[opened.path] = opened
        else:
            opened.close()

    def _lose(self, lost: Connection) -> None:
        """Note the end of a connection, and connect again if that process is still wanted."""
        path = lost.path
        if self._connections.get(path) is not lost:
            return
        del self._connections[path]
        self.lost += 1
        if path in self._wanted:
            if path == self._used:
                _log.warning("the engine process has gone: requests are answered without a model until it is replaced")
            self._begin(self._connect_again(path))

    async def _connect_again(self, path: Path) -> None:
        began, said = perf_counter(), ""
        while path in self._wanted:
            try:
                await self._connect(path)
            except EngineError as error:  # Whoever replaces it may mend that, too.
                if str(error) != said:
                    said = str(error)
                    _log.error("cannot connect to the next engine process: %s", said)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if path in self._connections:
                _log.info("connected to the next engine process after %.1f s", perf_counter() - began)
            return

    async def _leave_later(self, paths: list[Path]) -> None:
        """Leave processes once their jobs are done."""
        await asyncio.sleep(KEPT_SECONDS)
        for path in paths:
            while path in self._connections and self._connections[path].pending:
                await asyncio.sleep(_RETRY_SECONDS)
            self._leave(path)

    def _leave(self, path: Path) -> None:
        if path in self._wanted:
            self._wanted.remove(path)
        if (opened := self._connections.pop(path, None)) is not None:
            opened.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
