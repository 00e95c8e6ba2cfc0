"""Ask one Redis for values of items, in one exchange for all who wait.

There is one connection and at most one exchange on its way; what requests want meanwhile goes into the next one. Nobody
waits behind an exchange that is late already. So a slow Redis cannot pile anything up, whatever the load. An answer
that comes too late for its request still fills the cache. After three late ones in a row questions are asked for the
cache alone, and after three without an answer only once in a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final

from service.catalogues.live_values import Column
from service.catalogues.redis_link import LinkError, RedisLink
from service.catalogues.redis_store import RedisStore, Wanted
from service.catalogues.source import LiveObserver, ReadResult
from service.timing.breaker import Breaker

GIVE_UP_SECONDS: Final = 0.5
"""Longest exchange, connecting included; the connection is closed then."""

LEAST_SECONDS: Final = 0.0002
"""Less time than this is not worth asking."""

_LATE_IN_A_ROW: Final = 3
"""After so many late answers nobody waits for the next ones, until one comes in time."""

_PASSES: Final = 3
"""Turns of the event loop that a late answer still has: it may be there, and a busy loop has not read it."""


class RedisReader:
    """Ask for values and put them into the store. Used from the event loop only."""

    def __init__(self, link: RedisLink, store: RedisStore, observer: LiveObserver, *, seconds: float) -> None:
        self._link = link
        self._store = store
        self._observer = observer
        self._limit = seconds
        self._breaker = Breaker()
        self._wanted: Wanted = {}
        self._waiting: list[asyncio.Future[ReadResult]] = []
        self._work: asyncio.Task[None] | None = None
        self._late = False
        self._late_in_a_row = 0
        self._closed = False

    async def read(self, wanted: Mapping[Column, Sequence[str]], seconds: float) -> ReadResult:
        """Ask for these ids, and wait so long for the store to have the answer."""
        if self._closed or seconds < LEAST_SECONDS:
            return "skipped"
        if not self._breaker.closed:
            if self._work is None and self._breaker.may_try():
                self._want(wanted)  # Nobody waits for an attempt.
            return "skipped"
        if self._late:
            return "skipped"
        if self._late_in_a_row >= _LATE_IN_A_ROW:
            return self._ask_aside(wanted)
        self._want(wanted)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[ReadResult] = loop.create_future()
        self._waiting.append(answered)
        timer = loop.call_later(seconds, self._time_is_up, answered, seconds >= self._limit / 2, _PASSES)
        try:
            return await answered
        finally:
            timer.cancel()

    async def open(self) -> str | None:
        """Connect; return why it failed, or None. Requests may come meanwhile."""
        if self._work is None:
            self._begin()
        work = self._work
        assert work is not None
        await asyncio.wait([work])
        return "it was closed meanwhile" if self._closed else self._store.fault

    async def close(self) -> None:
        """Give up what is on its way, and close the connection."""
        self._closed = True
        work = self._work
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
        await self._link.end()

    def _ask_aside(self, wanted: Mapping[Column, Sequence[str]]) -> ReadResult:
        """Ask for the cache, if nothing else is being asked; nobody waits."""
        if self._work is not None:
            return "skipped"
        self._want(wanted)
        return "late"

    def _want(self, wanted: Mapping[Column, Sequence[str]]) -> None:
        for column, ids in wanted.items():
            self._wanted.setdefault(column, {}).update(dict.fromkeys(ids))
        if self._work is None:
            self._begin()

    def _begin(self) -> None:
        self._work = asyncio.create_task(self._exchange_all())

    def _time_is_up(self, answered: asyncio.Future[ReadResult], slow: bool, passes: int) -> None:
        """Tell a request that its answer is late.

        Where the source had enough time for it, it is `slow`.
        """
        if answered.done():
            return
        if passes:
            asyncio.get_running_loop().call_soon(self._time_is_up, answered, slow, passes - 1)
            return
        self._late = self._late or slow
        answered.set_result("late")

    async def _exchange_all(self) -> None:
        """Make exchanges until nobody wants anything; the first one may be to connect only."""
        waiting: list[asyncio.Future[ReadResult]] = []
        try:
            while True:
                wanted, self._wanted = self._wanted, {}
                waiting, self._waiting = self._waiting, []
                watched = any(not answered.done() for answered in waiting)
                result = await self._exchange(wanted, watched=watched)
                _tell(waiting, result)
                if not self._wanted:
                    return
        finally:
            self._work, self._late = None, False
            _tell((*waiting, *self._waiting), "skipped")
            self._waiting = []

    async def _exchange(self, wanted: Wanted, *, watched: bool) -> ReadResult:
        """Make one exchange, which is `watched` if a request waits for it."""
        self._late = False
        began = perf_counter()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                asked = await self._ask(wanted)
        except TimeoutError:
            self._store.failed(f"no answer within {GIVE_UP_SECONDS:g} s")
            result: ReadResult = "error"
        except LinkError as error:
            self._store.failed(str(error))
            result = "error"
        else:
            result = "ok"
            self._late = self._late or (not watched and perf_counter() - asked > self._limit)
        self._observer.exchanged(perf_counter() - began)
        self._late_in_a_row = self._late_in_a_row + 1 if self._late else 0
        if result == "ok":
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        return result

    async def _ask(self, wanted: Wanted) -> float:
        """Ask, take the replies, and return the time of the question.

        Raises `LinkError`. A connection that has lain idle may be gone, so one that was used before is given a second
        attempt.
        """
        fresh = not self._link.connected
        await self._link.connect()
        question = self._store.question(wanted)
        asked = perf_counter()
        try:
            replies = await self._link.ask(question.commands)
        except LinkError:
            if fresh:
                raise
            await self._link.connect()
            asked = perf_counter()
            replies = await self._link.ask(question.commands)
        try:
            self._store.take(question, replies)
        except LinkError:
            await self._link.close()
            raise
        return asked


def _tell(waiting: Sequence[asyncio.Future[ReadResult]], result: ReadResult) -> None:
    for answered in waiting:
        if not answered.done():
            answered.set_result(result)
