"""A closed loop of one thread: so many requests in flight, and the next one sent as soon as one is answered.

It shows what a service does when its clients wait for it; it hides queues, which is what open loops are for.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.rig.client import KeepAliveClient

_FULL: Final = b'"degraded":null'


@dataclass(frozen=True, slots=True)
class ClosedBlock:
    """Response times in milliseconds, in the order of the answers, and the seconds that all of them took together."""

    times_ms: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.times_ms) / self.seconds


class ClosedLoop:
    """Keeps `concurrency` connections to one server, made for the first block. Close it when done."""

    def __init__(self, host: str, port: int, *, concurrency: int) -> None:
        """Raises `ValueError` for a concurrency below 1."""
        if concurrency < 1:
            raise ValueError(f"concurrency: must be at least 1, not {concurrency}")
        self._address = host, port
        self._concurrency = concurrency
        self._clients: list[KeepAliveClient] = []
        self._selector = selectors.DefaultSelector()
        self._open = contextlib.ExitStack()
        self._open.callback(self._selector.close)

    def block(self, messages: Sequence[bytes], requests: int) -> ClosedBlock:
        """Send `messages` in turn until `requests` are answered.

        Raises `ValueError` for an answer that is not 200 or that no model made, `OSError` if nobody listens.
        """
        # Not before: a server may cut off a client that connects and then says nothing.
        while len(self._clients) < self._concurrency:
            self._connect()
        started = time.perf_counter()
        times = list(self._times(messages, requests))
        return ClosedBlock(times, time.perf_counter() - started)

    def close(self) -> None:
        """Close all connections."""
        self._open.close()

    def _connect(self) -> None:
        client = self._open.enter_context(KeepAliveClient(*self._address))
        self._selector.register(client, selectors.EVENT_READ, data=client)
        self._clients.append(client)

    def _times(self, messages: Sequence[bytes], requests: int) -> Iterator[float]:
        turn, left = itertools.cycle(messages), requests
        sent: dict[KeepAliveClient, float] = {}
        for first in self._clients[:requests]:
            sent[first] = time.perf_counter()
            first.post(next(turn))
            left -= 1
        while sent:
            for key, _ in self._selector.select():
                client = key.data
                status, body = client.receive()
                now = time.perf_counter()
                yield (now - sent.pop(client)) * 1000
                check_full(status, body)
                if left:
                    left -= 1
                    sent[client] = time.perf_counter()
                    client.post(next(turn))


def check_full(status: int, body: bytes) -> None:
    """Raise `ValueError` with the answer unless it is a 200 whose list the model made."""
    if status != 200:
        raise ValueError(f"the service answered {status}: {body[:300].decode('utf-8', 'replace')}")
    if _FULL not in body.replace(b" ", b""):
        raise ValueError(f"the service answered without its model: {body[:300].decode('utf-8', 'replace')}")
