"""A quick HTTP server on a thread, whose answer to its n-th request a test scripts: late, cut, refused or none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

FULL_BODY: Final = b'{"items": [], "degraded": null, "timings_ms": {"infer": 0.25, "total": 1.0}}'
DEGRADED_BODY: Final = b'{"items":[],"degraded":{"reason":"deadline","level":"formula"}}'

Action = Literal["answer", "answer and close", "close", "reset", "cut", "chunked", "silent"]


@dataclass(frozen=True)
class Reply:
    """What becomes of one request. `stall` blocks the whole server for so many seconds first."""

    status: int = 200
    body: bytes = FULL_BODY
    headers: tuple[str, ...] = ()
    action: Action = "answer"
    stall: float = 0.0


Script = Callable[[int], Reply]


def always(_: int) -> Reply:
    """200 with a list of the model's."""
    return Reply()


@dataclass
class Scripted:
    """A running server: where it listens, and what it has seen."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    stop: Callable[[], None] = field(default=lambda: None)
    """Listen no longer and close every connection; returns when that is done."""


class _Protocol(asyncio.Protocol):
    def __init__(self, seen: Scripted, script: Script, transports: list[asyncio.BaseTransport]) -> None:
        self._seen, self._script, self._transports, self._received = seen, script, transports, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._seen.connections += 1
        self._transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._received[:head_end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._received) < head_end + 4 + length:
            return
        body = bytes(self._received[head_end + 4 : head_end + 4 + length])
        del self._received[: head_end + 4 + length]
        self._seen.bodies.append(body)
        self._do(self._script(len(self._seen.bodies) - 1))

    def _do(self, reply: Reply) -> None:
        if reply.stall:
            time.sleep(reply.stall)
        if reply.action in ("answer", "answer and close", "cut", "chunked"):
            self._transport.write(_bytes(reply))
        if reply.action == "reset":
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif reply.action in ("close", "cut", "answer and close"):
            self._transport.close()


def _bytes(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Whatever", *reply.headers]
    if reply.action == "chunked":
        half = len(reply.body) // 2
        chunks = (reply.body[:half], reply.body[half:], b"")
        head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
        return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = "\r\n".join([*lines, f"content-length: {len(reply.body)}", "", ""]).encode()
    return head + (reply.body[: len(reply.body) // 2] if reply.action == "cut" else reply.body)


@contextlib.contextmanager
def scripted_server(script: Script = always) -> Iterator[Scripted]:
    """Serve while the context lasts, or until `Scripted.stop`."""
    seen, loop, listening, stop = Scripted(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    transports: list[asyncio.BaseTransport] = []

    async def serve() -> None:
        server = await loop.create_server(lambda: _Protocol(seen, script, transports), "127.0.0.1", 0, backlog=512)
        seen.port = server.sockets[0].getsockname()[1]
        listening.set()
        await stop.wait()
        loop.remove_reader(server.sockets[0].fileno())
        while len(asyncio.all_tasks()) > 1:  # What was accepted just now has no transport yet, and could have none,
            await asyncio.sleep(0)  # nor ever be closed, once the server is closed.
        server.close()
        for transport in transports:
            transport.close()
        await asyncio.sleep(0.02)  # Closing one takes a turn.

    def end() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    seen.stop = end
    thread.start()
    listening.wait()
    try:
        yield seen
    finally:
        end()
        loop.close()
