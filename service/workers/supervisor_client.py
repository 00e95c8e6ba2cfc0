"""Ask the supervisor, as a worker, for what all workers have counted."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from service.contract.problems import NOT_READY, Problem, unavailable
from service.telemetry.rolling import Gathered
from service.timing.limiter import LogLimiter, left_out
from service.workers.messages import AskWindows, Channel, NumberedCommand, Scrape, Scraped, Windows

_log = logging.getLogger(__name__)
_SCRAPE_SECONDS: Final = 4.0
_WINDOWS_SECONDS: Final = 2.5  # The supervisor itself waits a second or two for a worker.
_LONGEST_ACCEPT: Final = 1024


class SupervisorClient:
    """Answer with what the supervisor says. Used from the event loop only."""

    def __init__(self, channel: Channel[NumberedCommand], retry_after_seconds: int) -> None:
        self._channel = channel
        self._retry_after = retry_after_seconds
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Scraped | Windows]] = {}
        self._limiter = LogLimiter()

    async def scrape(self, accept: str) -> Response:
        """Answer a scrape. Raises `Problem` (503) if the supervisor is silent or fails."""
        if self._channel.is_stuck:
            raise self._problem("the supervisor does not read, so there are no metrics")
        try:
            scraped = await self._ask(lambda number: Scrape(number, accept[:_LONGEST_ACCEPT]), _SCRAPE_SECONDS)
        except TimeoutError:
            raise self._problem(f"the supervisor gave no metrics within {_SCRAPE_SECONDS:g} seconds") from None
        if not isinstance(scraped, Scraped) or scraped.text is None:
            raise self._problem("the metrics of the workers could not be merged; the log says why")
        return Response(scraped.text, headers={"content-type": scraped.content_type})

    async def windows(self) -> Gathered | None:
        """Return the last minutes of all workers; None if the supervisor is silent."""
        why = "does not read"
        if not self._channel.is_stuck:
            try:
                found = await self._ask(AskWindows, _WINDOWS_SECONDS)
            except TimeoutError:
                why = f"did not answer within {_WINDOWS_SECONDS:g} seconds"
            else:
                if isinstance(found, Windows) and found.windows:
                    return Gathered(found.windows, found.workers, found.complete)
                why = "got no answer of any worker"
        if (suppressed := self._limiter.ready("windows")) is not None:
            _log.warning("/v1/slo describes this worker alone: the supervisor %s%s", why, left_out(suppressed))
        return None

    def take(self, answer: Scraped | Windows) -> None:
        """Pass on the supervisor's answer, if somebody still waits for it."""
        future = self._waiting.get(answer.number)
        if future is not None and not future.done():
            future.set_result(answer)

    async def _ask(self, question: Callable[[int], Scrape | AskWindows], seconds: float) -> Scraped | Windows:
        """Ask, and wait for the answer. Raises `TimeoutError`."""
        number = next(self._numbers)
        future: asyncio.Future[Scraped | Windows] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._channel.send(question(number))
        try:
            async with asyncio.timeout(seconds):
                return await future
        finally:
            del self._waiting[number]

    def _problem(self, detail: str) -> Problem:
        return unavailable(NOT_READY, detail, self._retry_after)
