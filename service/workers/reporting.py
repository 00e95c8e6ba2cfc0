"""Tell the supervisor that a worker's event loop turns, and what it has counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Self

from msgspec import json

from service.telemetry.exposition import SharedExposition
from service.telemetry.metrics import Metrics
from service.telemetry.snapshots import Layout, SnapshotReader
from service.workers.heartbeat import BEAT_SECONDS
from service.workers.messages import Beat, Channel, NumberedCommand, Snapshot

_log = logging.getLogger(__name__)


class Reporter:
    """Send beats and snapshots over the channel, but none while the supervisor does not read."""

    def __init__(self, channel: Channel[NumberedCommand], metrics: Metrics, exposition: SharedExposition) -> None:
        self._channel = channel
        self._metrics = metrics
        self._snapshots = SnapshotReader(exposition.registry, exposition.modes)
        # A thread of its own: those of the event loop may be busy loading bundles.
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._sent: Layout | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls, channel: Channel[NumberedCommand], metrics: Metrics, exposition: SharedExposition) -> Iterator[Self]:
        """Make one whose thread ends with the context."""
        reporter = cls(channel, metrics, exposition)
        with reporter._thread:
            yield reporter

    async def beat(self) -> NoReturn:
        """Send a beat every second, and a snapshot unless one is still being taken."""
        reporting: asyncio.Task[None] | None = None
        while True:
            if not self._channel.is_stuck:
                self._channel.send(Beat())
                if reporting is None or reporting.done():
                    reporting = asyncio.create_task(self.report())
            await asyncio.sleep(BEAT_SECONDS)

    async def report(self) -> None:
        """Send a snapshot of all metrics, read and encoded in a thread."""
        try:
            self._metrics.refresh()
            line, layout = await asyncio.get_running_loop().run_in_executor(self._thread, self._encode)
        except Exception:  # No fault of the metrics may stop the beats, and with them the worker.
            _log.exception("the metrics could not be read")
            return
        self._channel.send_line(line)
        self._sent = layout

    def _encode(self) -> tuple[bytes, Layout]:
        layout, values = self._snapshots.read()
        return json.encode(Snapshot(None if layout is self._sent else layout, values)), layout
