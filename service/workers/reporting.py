"""Tell the supervisor, from a worker, that the event loop turns and what has been counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn, Self

from msgspec import json
from starlette.responses import Response

from service.contract.problems import NOT_READY, Problem, unavailable
from service.telemetry.exposition import SharedExposition
from service.telemetry.merging import Layout, take_snapshot
from service.workers.heartbeat import BEAT_SECONDS
from service.workers.messages import Beat, Channel, NumberedCommand, Scrape, Scraped, Snapshot

_log = logging.getLogger(__name__)
_SCRAPE_SECONDS: Final = 4.0
_LONGEST_ACCEPT: Final = 1024


class Reporter:
    """Send beats and snapshots over the channel, and ask for the metrics of all workers.

    Nothing is sent while the supervisor does not read.
    """

    def __init__(self, channel: Channel[NumberedCommand], retry_after_seconds: int) -> None:
        self.exposition = SharedExposition(self._scrape)
        self._channel = channel
        self._retry_after = retry_after_seconds
        # A thread of its own: those of the event loop may be busy loading bundles.
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._sent: Layout | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Scraped]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, channel: Channel[NumberedCommand], retry_after_seconds: int) -> Iterator[Self]:
        """Make one whose thread ends with the context."""
        reporter = cls(channel, retry_after_seconds)
        with reporter._thread:
            yield reporter

    async def beat(self) -> NoReturn:
        """Send a beat every second, and a snapshot with each."""
        while True:
            if not self._channel.is_stuck:
                self._channel.send(Beat())
                await self.report()
            await asyncio.sleep(BEAT_SECONDS)

    async def report(self) -> None:
        """Send a snapshot of all metrics, read and encoded in a thread."""
        try:
            line, layout = await asyncio.get_running_loop().run_in_executor(self._thread, self._encode)
        except Exception:  # No fault of the metrics may stop the beats, and with them the worker.
            _log.exception("the metrics could not be read")
            return
        self._channel.send_line(line)
        self._sent = layout

    def take(self, scraped: Scraped) -> None:
        """Give a scrape its answer, if it still waits."""
        future = self._asked.get(scraped.number)
        if future is not None and not future.done():
            future.set_result(scraped)

    def _encode(self) -> tuple[bytes, Layout]:
        layout, values = take_snapshot(self.exposition.registry, self.exposition.modes)
        return json.encode(Snapshot(None if layout == self._sent else layout, values)), layout

    async def _scrape(self, accept: str) -> Response:
        if self._channel.is_stuck:
            raise self._silent()
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Scrape(number, accept[:_LONGEST_ACCEPT]))
        try:
            async with asyncio.timeout(_SCRAPE_SECONDS):
                scraped = await future
        except TimeoutError:
            raise self._silent() from None
        finally:
            del self._asked[number]
        if scraped.text is None:
            raise unavailable(NOT_READY, "the metrics could not be merged; the log says why", self._retry_after)
        return Response(scraped.text, headers={"content-type": scraped.content_type})

    def _silent(self) -> Problem:
        return unavailable(NOT_READY, "the supervisor does not answer with the metrics of all", self._retry_after)
