"""Serve one listening socket with uvicorn, and stop without losing a request.

Stopping takes in the clients that have connected already, lets every connection end with the answer that it owes, and
closes a kept-alive one only once it has been silent for a while and nothing unread lies in its socket. While it
serves, it cuts off clients that do not take their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Final, cast

import uvicorn
from fastapi import FastAPI

from models.contract.serving import RERANK_PATH
from service.settings import Settings
from service.timing.limiter import LogLimiter
from service.transport.connections import Connections, OnHead
from service.transport.gate import Gate
from service.transport.limits import Limits, raise_descriptor_limit
from service.transport.protocol import TimedProtocol
from service.transport.sockets import BACKLOG, stop_connecting, take_all

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.02
_SWEEP_SECONDS: Final = 1.0


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals alone.

    The process has two of them and one way to stop. `gate` may refuse a request to `/v1/rerank` unread. `connections`
    counts and limits; missing: as for an admin listener, and each of `on_head` is told of requests whose HTTP is
    refused. `shared`: other processes accept from the same socket, and may go on doing so.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        sock: socket.socket,
        *,
        gate: Gate | None = None,
        connections: Connections | None = None,
        on_head: Sequence[OnHead] = (),
        shared: bool = False,
    ) -> None:
        self._counts = connections or Connections(Limits.of(settings, admin=True), on_head=on_head)
        self._protocol = functools.partial(
            TimedProtocol, connections=self._counts, gate=gate, gate_path=RERANK_PATH.encode()
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", self._protocol),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=cast(int, settings.keep_alive_seconds),  # It may be a fraction.
            )
        )
        self._socket = sock
        self._shared = shared
        self._drain_seconds = settings.drain_seconds
        self._quiet_seconds = settings.drain_quiet_seconds

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing; see `server.serve`."""
        yield

    async def listen(self) -> None:
        """Serve until `should_exit`, then drain."""
        self._counts.descriptors = raise_descriptor_limit(self._counts.limits.connections)
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self.serve(sockets=[self._socket])
        finally:
            sweeping.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and drain; cut off the rest after the drain limit."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + self._drain_seconds
        await self._stop_listening()
        while (connections := self._connections()) and loop.time() < limit:
            for connection in connections:  # Those from the backlog may turn up only now.
                connection.drain()
                connection.close_if_idle(self._quiet_seconds)
            await asyncio.sleep(_LOOK_SECONDS)
        self.config.timeout_graceful_shutdown = max(0, round(limit - loop.time()))
        await super().shutdown(sockets)

    async def _sweep(self) -> None:
        """Look every second after answers that are not taken, and log refused connections."""
        limiter = LogLimiter()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                self._look_over()
            except Exception:
                if limiter.ready(None) is not None:
                    _log.exception("the connections could not be looked over")

    def _look_over(self) -> None:
        now = asyncio.get_running_loop().time()
        unsent = [(connection.check_unsent(now), connection) for connection in self._connections()]
        excess = sum(size for size, _ in unsent) - self._counts.limits.unfinished_bytes
        if excess > 0:
            cut_off_largest(unsent, excess)
        self._counts.report()

    def _connections(self) -> list[TimedProtocol]:
        return [cast(TimedProtocol, connection) for connection in self.server_state.connections]

    async def _stop_listening(self) -> None:
        """Accept no more, but take in the connections made meanwhile.

        Those are clients with a request on its way. Nothing else runs until the socket is closed: a client that
        was answered meanwhile could connect again, and under load there would be no end to it.
        """
        if not self._shared:
            stop_connecting(self._socket)
        accepted = take_all(self._socket, BACKLOG)
        for server in self.servers:
            server.close()
        for sock in accepted:
            await asyncio.get_running_loop().connect_accepted_socket(self._new_connection, sock)
        await asyncio.sleep(0)  # What uvloop has accepted just now becomes a connection in the loop's next turn.

    def _new_connection(self) -> TimedProtocol:
        return self._protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=None
        )


def cut_off_largest(unsent: list[tuple[int, TimedProtocol]], excess: int) -> None:
    """Cut off the clients with the most unsent bytes until `excess` bytes are gone."""
    for size, connection in sorted(unsent, key=lambda found: found[0], reverse=True):
        if excess <= 0:
            return
        connection.transport.abort()
        excess -= size
