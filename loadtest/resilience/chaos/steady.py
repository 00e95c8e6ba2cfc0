"""Send good requests at a constant rate, and keep the result of each.

Arrivals are an open loop: a request is due whether the one before it has been answered or not. Connections are kept
alive and used again, as a proxy's are, and a request that is sent is never repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from loadtest.requests.payloads import Payload, list_problem
from loadtest.rig.client import post_message
from loadtest.rig.server import HOST

PATIENCE: Final = 20.0
"""Seconds after which an unanswered request counts as such."""

FULL: Final = "full"
DEGRADED: Final = "degraded"
REFUSED: Final = "refused (503)"
NO_CONNECTION: Final = "no connection"
INVALID: Final = "wrong list"
UNANSWERED: Final = ("closed", "cut", "timeout")
"""Results of requests that were sent and have no whole answer."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: due and done (monotonic seconds), result in words, client port."""

    due: float
    done: float
    result: str
    port: int


def lost(seen: Sequence[Seen], held: Collection[int]) -> int:
    """Count the unanswered requests, but for those on `held` connections."""
    return sum(s.result in UNANSWERED and s.port not in held for s in seen)


def unexpected(seen: Sequence[Seen]) -> Counter[str]:
    """Count the answers that are neither a valid list nor a 503."""
    allowed = (FULL, DEGRADED, REFUSED, NO_CONNECTION, *UNANSWERED)
    return Counter(s.result for s in seen if s.result not in allowed)


def recovery(seen: Sequence[Seen], fault: float) -> float:
    """Return the seconds from `fault` to the last request without a list."""
    return max((s.done - fault for s in seen if s.result not in (FULL, DEGRADED) and s.done >= fault), default=0.0)


class SteadyClient:
    """Send `payloads` in turn at `rate` a second while the context lasts."""

    def __init__(self, port: int, payloads: Sequence[Payload], rate: float) -> None:
        self.seen: list[Seen] = []
        self._port = port
        self._turns = itertools.cycle([(p, post_message(p.body)) for p in payloads])
        self._gap = 1.0 / rate
        self._idle: list[Connection] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="steady-client")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._stop.is_set():
            task = asyncio.create_task(self._one(due, *next(self._turns)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._gap
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        for _, writer in self._idle:
            writer.close()

    async def _one(self, due: float, payload: Payload, message: bytes) -> None:
        """Send one request and note its result."""
        try:
            connection = await self._connection()
        except OSError:
            self._note(due, NO_CONNECTION, 0)
            return
        reader, writer = connection
        port = int(writer.get_extra_info("sockname")[1])
        result, reusable = await _exchange(reader, writer, payload, message)
        self._note(due, result, port)
        if reusable:
            self._idle.append(connection)
        else:
            writer.close()

    async def _connection(self) -> Connection:
        """Take an idle connection that is still open, or make one. Raises `OSError`."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        async with asyncio.timeout(PATIENCE):
            return await asyncio.open_connection(HOST, self._port)

    def _note(self, due: float, result: str, port: int) -> None:
        self.seen.append(Seen(due, time.monotonic(), result, port))


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, payload: Payload, message: bytes
) -> tuple[str, bool]:
    """Return the result of one request, and whether its connection may be used again."""
    head = b""
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0))
    except TimeoutError:
        return "timeout", False
    except asyncio.IncompleteReadError as error:
        return ("cut" if head or error.partial else "closed"), False
    except OSError:
        return ("cut" if head else "closed"), False
    result = _result(payload, head[9:12].decode("ascii"), body)
    return result, b"connection: close" not in head


def _result(payload: Payload, status: str, body: bytes) -> str:
    """Return a whole answer's result in words."""
    if status != "200":
        return REFUSED if status == "503" else f"status {status}"
    if list_problem(payload, body) is not None:
        return INVALID
    return FULL if json.loads(body)["degraded"] is None else DEGRADED
