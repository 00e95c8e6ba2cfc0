"""Define the messages between supervisor and workers: JSON lines over a socket pair.

The supervisor gives numbered orders, a worker answers each; answers may come in another order. A channel that ends
means that the other side has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final, Generic, Self, TypeVar

from msgspec import Struct, json

_LONGEST_LINE: Final = 16 * 1024 * 1024

Received = TypeVar("Received")


class Start(Struct, tag=True, frozen=True):
    """The first order: the settings, secrets and all."""

    settings: dict[str, Any]


class Prepare(Struct, tag=True, frozen=True):
    """First phase of switch `switch`: prepare a version, aside. Answer: `Prepared`."""

    switch: int
    name: str
    version: str


class Commit(Struct, tag=True, frozen=True):
    """Second phase: let the prepared version serve. Answer: `Described`, that model alone."""

    switch: int


class Abort(Struct, tag=True, frozen=True):
    """Instead of the second phase: drop the prepared version, if there is one."""

    switch: int


class Fail(Struct, tag=True, frozen=True):
    """Note that this bundle could not be loaded at the start."""

    name: str
    reason: str


class MarkRefused(Struct, tag=True, frozen=True):
    """Show in the metrics that a version is refused now, or no longer."""

    name: str
    version: str
    refused: bool


class Loaded(Struct, tag=True, frozen=True):
    """All bundles of the start have been loaded or have failed."""


class Listen(Struct, tag=True, frozen=True):
    """Take requests from now on."""


class Drain(Struct, tag=True, frozen=True):
    """The service is about to stop: say not ready, and go on answering until SIGTERM."""


class Count(Struct, tag=True, frozen=True):
    """Count one reload, ``ok`` or ``refused``, for all workers: the metric is about bundles."""

    result: str


class Status(Struct, tag=True, frozen=True):
    """Describe all live models. Answer: `Described`."""


Command = Start | Prepare | Commit | Abort | Fail | MarkRefused | Loaded | Listen | Drain | Count | Status


class NumberedCommand(Struct, frozen=True):
    """A command and the number that its answer bears."""

    id: int
    command: Command


class Done(Struct, tag=True, frozen=True):
    """The order has been carried out."""

    id: int


class Prepared(Struct, tag=True, frozen=True):
    """A bundle waits to be switched to; `files` is its identity (see `load.identity`)."""

    id: int
    files: dict[str, str]


class Described(Struct, tag=True, frozen=True):
    """Models, each as `ModelStatus` in JSON."""

    id: int
    models: list[dict[str, Any]]


class Refused(Struct, tag=True, frozen=True):
    """The order was not carried out, because of the bundle or a worker's `fault`."""

    id: int
    reason: str
    fault: bool = False


Reply = Done | Prepared | Described | Refused


class Channel(Generic[Received]):
    """One end; lines that come in are of type `Received`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: json.Decoder[Received]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder

    @classmethod
    async def open(cls, sock: socket.socket, decoder: json.Decoder[Received]) -> Self:
        """Talk over `sock`, which the channel owns from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=_LONGEST_LINE), decoder)

    def send(self, message: Struct) -> None:
        """Send a small message without waiting; ignored if the other side has gone."""
        if not self._writer.is_closing():  # uvloop's transports raise then, where asyncio's do not.
            self._writer.write(json.encode(message) + b"\n")

    async def receive(self) -> Received | None:
        """Return the next message; None once the other side has gone."""
        with contextlib.suppress(ConnectionError):
            line = await self._reader.readline()
            if line.endswith(b"\n"):
                return self._decoder.decode(line)
        return None

    def close(self) -> None:
        self._writer.close()
