"""Hand jobs to the engine's queue, and call requests back before their deadline.

A request that is still waiting shortly before its deadline gets `DeadlineNear` instead of its answer. That is early
enough for all requests that are called back together to be answered one after the other. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable
from operator import attrgetter
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect

from service.inference.engine import Answer, BatchArrays, Engine, Job, JobQueue, RequestArrays
from service.timing.deadline import FORMULA_SECONDS, LEAD_SECONDS, NEVER, latest_starts
from service.transport.asgi import Presence

_SHORTEST_SLEEP: Final = 0.001  # libuv's timers count whole milliseconds.
_deadline: Final = attrgetter("deadline")


class DeadlineNear(Exception):
    """The deadline comes before the model's answer."""


class Dispatcher:
    """Hand jobs to a queue, and call those back whose time is up.

    `on_drop` is told ``deadline`` or ``client-gone`` for every job that is dropped before its run. In the `background`,
    its jobs give way to those of others.
    """

    def __init__(
        self, queue: JobQueue, *, on_drop: Callable[[str], None] = lambda _: None, background: bool = False
    ) -> None:
        self._queue = queue
        self._on_drop = on_drop
        self._background = background
        self._waiting: list[Job] = []  # Those with a deadline, by that.
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = NEVER

    def in_background(self) -> Dispatcher:
        """Make a dispatcher to the same queue whose jobs give way to all others."""
        return Dispatcher(self._queue, background=True)

    @property
    def given_up(self) -> str | None:
        """Reason why no run is made any more, or None."""
        return self._queue.given_up

    @property
    def depth(self) -> int:
        """Number of requests that wait for the engine."""
        return self._queue.depth

    @property
    def idle(self) -> bool:
        """Tell whether the engine has nothing to do."""
        return self._queue.idle and not self._waiting

    def seconds_until_done(self, engine: Engine, *, background: bool = False) -> float:
        """Estimate the time until a job that is submitted now is done.

        Jobs in the background wait for all others, and others for none of them. It is 0 for an engine with nothing to
        do: that is always given a try, or one slow spell would never be found to be over.
        """
        return 0.0 if self._queue.idle else self._queue.seconds_until_done(engine, background=background)

    def run_seconds(self, engine: Engine) -> float:
        """Return an upper bound for a run of one request; 0 before the first run."""
        return self._queue.run_seconds(engine)

    async def run(
        self,
        engine: Engine,
        row: RequestArrays,
        *,
        deadline: float = NEVER,
        presence: Presence | None = None,
        background: bool = False,
    ) -> Answer:
        """Return the engine's outputs for one request.

        Raises `EngineError`, `DeadlineNear` when `deadline` (on `perf_counter`'s clock) comes close, and
        `ClientDisconnect` when the client leaves. A job that has not been started by then never is.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        job = Job(engine, row, future, loop, deadline - LEAD_SECONDS, background or self._background)
        watched = deadline < NEVER
        if watched:
            self._watch(job, loop)
        if presence is not None:
            presence.on_leave = lambda: self._fail(job, ClientDisconnect(), "client-gone")
        self._queue.submit(job)
        self._queue.in_background += job.background
        # Three may end the wait: the queue's answer, `_call_back` at the deadline, the client's leaving.
        try:
            return await future
        except asyncio.CancelledError:
            self._queue.withdraw(job)
            raise
        finally:
            self._queue.in_background -= job.background
            if presence is not None:
                presence.on_leave = None
            if watched:
                self._forget(job)

    async def warm(self, engine: Engine, batch: BatchArrays) -> None:
        """Warm the engine where it runs. Raises the engine's errors.

        Every run gives way to requests.
        """
        await self._queue.warm(engine, batch)

    def _watch(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Note when this job's request must be called back, and set the timer for it."""
        bisect.insort(self._waiting, job, key=_deadline)
        # In the worst case all waiting requests are called back at the same moment, and this one is answered last.
        self._wake(job.deadline - (len(self._waiting) - 1) * FORMULA_SECONDS, loop)

    def _forget(self, job: Job) -> None:
        """Remove a request that has its answer."""
        i = bisect.bisect_left(self._waiting, job.deadline, key=_deadline)
        while self._waiting[i] is not job:  # Others may have the same deadline.
            i += 1
        del self._waiting[i]

    def _wake(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer, unless it wakes up earlier anyway."""
        if at >= self._wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = at
        self._timer = loop.call_later(max(0.0, at - perf_counter()), self._call_back, loop)

    def _call_back(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up on the requests that are due, and sleep until the next one is."""
        self._timer, self._wake_at = None, NEVER
        latest = latest_starts([job.deadline for job in self._waiting], FORMULA_SECONDS)
        # Those that would come due while the timer sleeps its shortest time are due now.
        due = bisect.bisect_right(latest, perf_counter() + _SHORTEST_SLEEP)
        for job in self._waiting[:due]:
            self._fail(job, DeadlineNear(), "deadline")
        if due < len(latest):
            self._wake(latest[due], loop)

    def _fail(self, job: Job, error: Exception, reason: str) -> None:
        """Give the request an error instead of an answer."""
        if job.future.done():
            return
        job.future.set_exception(error)
        self._queue.withdraw(job)
        if not job.started:  # Else the run goes on for the rest of its batch, and this answer is dropped.
            self._on_drop(reason)
