"""Ask the supervisor, from a worker, for the metrics of all workers."""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

from starlette.responses import Response

from service.contract.problems import NOT_READY, Problem, unavailable
from service.workers.messages import Channel, NumberedCommand, Scrape, Scraped

_SECONDS: Final = 4.0
_LONGEST_ACCEPT: Final = 1024


class ScrapeClient:
    """Answer scrapes with what the supervisor says. Used from the event loop only."""

    def __init__(self, channel: Channel[NumberedCommand], retry_after_seconds: int) -> None:
        self._channel = channel
        self._retry_after = retry_after_seconds
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Scraped]] = {}

    async def scrape(self, accept: str) -> Response:
        """Answer a scrape. Raises `Problem` (503) if the supervisor is silent or fails."""
        if self._channel.is_stuck:
            raise self._problem("the supervisor does not read, so there are no metrics")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Scrape(number, accept[:_LONGEST_ACCEPT]))
        try:
            async with asyncio.timeout(_SECONDS):
                scraped = await future
        except TimeoutError:
            raise self._problem(f"the supervisor gave no metrics within {_SECONDS:g} seconds") from None
        finally:
            del self._waiting[number]
        if scraped.text is None:
            raise self._problem("the metrics of the workers could not be merged; the log says why")
        return Response(scraped.text, headers={"content-type": scraped.content_type})

    def take(self, scraped: Scraped) -> None:
        """Pass on the supervisor's answer, if a scrape still waits for it."""
        future = self._waiting.get(scraped.number)
        if future is not None and not future.done():
            future.set_result(scraped)

    def _problem(self, detail: str) -> Problem:
        return unavailable(NOT_READY, detail, self._retry_after)
