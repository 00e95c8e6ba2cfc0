"""Define the messages between supervisor and workers: JSON lines over a socket pair.

The supervisor gives numbered orders, a worker answers each; answers may come in another order. A worker also sends
notices, which nobody asked for. A channel that ends means that the other side has. Engine processes have such a channel
too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final, Generic, Literal, Self, TypeVar

from msgspec import Struct, json

from service.access.key import ApiKey
from service.catalogues.load import CheckedCatalogue
from service.scenes.scene import Scene
from service.telemetry.rolling import WindowCounts
from service.telemetry.snapshots import Layout, Values

_LONGEST_LINE: Final = 128 * 1024 * 1024
"""Bytes. Catalogues are sent with their feature specs, whose vocabularies may be large."""
_MOST_UNSENT_BYTES: Final = 64 * 1024

Received = TypeVar("Received")
Part = Literal["scenes", "catalogues"]
"""What is switched beside the models."""


class Start(Struct, tag=True, frozen=True):
    """The first order: the settings, secrets and all."""

    settings: dict[str, Any]


class Prepare(Struct, tag=True, frozen=True):
    """First phase of switch `switch`: prepare a version, aside. Answer: `Prepared`.

    Its graph runs in the engine process whose socket is at the path `engine`, or in the worker without one.
    """

    switch: int
    name: str
    version: str
    engine: str | None = None


class Commit(Struct, tag=True, frozen=True):
    """Second phase: let the prepared version serve. Answer: `Described`, that model alone."""

    switch: int


class PrepareScenes(Struct, tag=True, frozen=True):
    """First phase of switch `switch`: hold these scenes to the live models, aside."""

    switch: int
    scenes: list[Scene]


class PrepareCatalogues(Struct, tag=True, frozen=True):
    """First phase of switch `switch`: open these catalogues, aside."""

    switch: int
    catalogues: list[CheckedCatalogue]


class CommitPart(Struct, tag=True, frozen=True):
    """Second phase: let the prepared scenes or catalogues serve, and no other."""

    switch: int


class FailPart(Struct, tag=True, frozen=True):
    """Note why scenes or catalogues of the start do not serve; None if they do."""

    part: Part
    reason: str | None


class Abort(Struct, tag=True, frozen=True):
    """Instead of the second phase: drop what has been prepared, if anything."""

    switch: int


class LoadModel(Struct, tag=True, frozen=True):
    """Load a version into an engine process that does not listen yet. Answer: `Prepared`.

    It is done `quietly` beside processes that serve.
    """

    name: str
    version: str
    quietly: bool


class ListenAt(Struct, tag=True, frozen=True):
    """Take jobs of workers, as an engine process, on a socket at this path."""

    path: str


class Fail(Struct, tag=True, frozen=True):
    """Note why a name has no live model; None if it needs none."""

    name: str
    reason: str | None


class TakeKeys(Struct, tag=True, frozen=True):
    """Let these API keys in, and no other."""

    keys: list[ApiKey]


class Loaded(Struct, tag=True, frozen=True):
    """All bundles of the start have been loaded or have failed."""


class Listen(Struct, tag=True, frozen=True):
    """Take requests from now on."""


class Drain(Struct, tag=True, frozen=True):
    """The service is about to stop: say not ready, and go on answering until SIGTERM."""


class Measure(Struct, tag=True, frozen=True):
    """Send a `Snapshot` at once, before the answer."""


class Scraped(Struct, tag=True, frozen=True):
    """Answer the `Scrape` of this number; `text` is None if that failed."""

    number: int
    content_type: str
    text: str | None


class CountWindows(Struct, tag=True, frozen=True):
    """Say what has been counted in the last minutes. Answer: `Counted`."""


class Windows(Struct, tag=True, frozen=True):
    """Answer the `AskWindows` of this number, with the counts of so many workers.

    They are all that run if `complete`.
    """

    number: int
    windows: tuple[WindowCounts, ...]
    workers: int
    complete: bool


class Status(Struct, tag=True, frozen=True):
    """Describe all live models. Answer: `Described`."""


Command = (
    Start
    | Prepare
    | Commit
    | PrepareScenes
    | PrepareCatalogues
    | CommitPart
    | FailPart
    | Abort
    | LoadModel
    | ListenAt
    | Fail
    | TakeKeys
    | Loaded
    | Listen
    | Drain
    | Measure
    | Scraped
    | CountWindows
    | Windows
    | Status
)


class NumberedCommand(Struct, frozen=True):
    """A command and the number that its answer bears."""

    id: int
    command: Command


class Done(Struct, tag=True, frozen=True):
    """The order has been carried out."""

    id: int


class Prepared(Struct, tag=True, frozen=True):
    """A bundle is loaded and waits; `files` is its identity (see `load.identity`)."""

    id: int
    files: dict[str, str]


class Described(Struct, tag=True, frozen=True):
    """Models, each as `ModelStatus` in JSON."""

    id: int
    models: list[dict[str, Any]]


class Counted(Struct, tag=True, frozen=True):
    """Requests of the last minutes, by window."""

    id: int
    windows: tuple[WindowCounts, ...]


class Refused(Struct, tag=True, frozen=True):
    """The order was refused.

    The cause is what was to serve, a fault of the process itself, or its engine process, which was lost.
    """

    id: int
    reason: str
    cause: Literal["content", "fault", "lost"] = "content"


Reply = Done | Prepared | Described | Counted | Refused


class Beat(Struct, tag=True, frozen=True):
    """The event loop turns; sent every second."""


class Snapshot(Struct, tag=True, frozen=True):
    """All metrics of the worker; without a layout, in that of the snapshot before."""

    layout: Layout | None
    values: Values


class Scrape(Struct, tag=True, frozen=True):
    """Ask for the metrics of all. Answer: the order `Scraped`, in a format of `accept`."""

    number: int
    accept: str


class AskWindows(Struct, tag=True, frozen=True):
    """Ask for the last minutes of all workers. Answer: the order `Windows`."""

    number: int


Notice = Beat | Snapshot | Scrape | AskWindows
Message = Reply | Notice
"""Whatever a worker says."""


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
        self.send_line(json.encode(message))

    def send_line(self, message: bytes) -> None:
        """Send a message that has been encoded already."""
        if not self._writer.is_closing():  # uvloop's transports raise then, where asyncio's do not.
            self._writer.write(message + b"\n")

    @property
    def is_stuck(self) -> bool:
        """Tell whether the other side does not read what has been sent."""
        return self._writer.transport.get_write_buffer_size() > _MOST_UNSENT_BYTES

    async def receive(self) -> Received | None:
        """Return the next message; None once the other side has gone."""
        with contextlib.suppress(ConnectionError):
            line = await self._reader.readline()
            if line.endswith(b"\n"):
                return self._decoder.decode(line)
        return None

    def close(self) -> None:
        """Close this end, at once for the other side, after what has been sent."""
        self._writer.close()

    async def flush(self) -> None:
        """Close this end, and wait until all has been sent."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
