"""Talk to one Redis over one connection: the only module that knows the client library.

The library's connection does addresses, TLS, passwords and the handshake. Commands are packed by hiredis itself: the
library's own pipeline takes four times the CPU (2.0 instead of 0.5 ms for 1,000 values), nearly all of it in packing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

SCHEMES: Final = ("redis", "rediss", "unix")
EXTRA: Final = "needs the package redis with hiredis: pip install '.[redis]' in a checkout"
_PROTOCOL: Final = 2  # Every server speaks it.
_END_SECONDS: Final = 0.5

Command = Sequence[str]


@dataclass(frozen=True, slots=True)
class CommandError:
    """Be the reply of a command that the server refused."""

    text: str

    @property
    def wrong_type(self) -> bool:
        """Tell whether the key holds another type than the command is for."""
        return self.text.startswith("WRONGTYPE")


class LinkError(Exception):
    """Report that the server could not be reached, or answered what makes no sense."""


def show_url(url: str) -> str:
    """Return the URL without user, password and options, for people."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def check_url(url: str) -> None:
    """Raise `ValueError` for a URL that cannot work, or without the client library."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must be a URL that begins with redis://, rediss:// or unix://")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("must name the path of a socket, such as unix:///run/redis.sock")
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("must end with the number of a database, such as redis://cache:6379/0, or with none")
    RedisLink(url)


class RedisLink:
    """Hold one connection, made when it is needed. Used by one task at a time."""

    def __init__(self, url: str) -> None:
        """Prepare a connection.

        Raises `ValueError` for a URL that cannot work, and without the client library.
        """
        self._connection = _make_connection(url)

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection, as far as is known."""
        return bool(self._connection.is_connected)

    async def connect(self) -> None:
        """Connect, unless it is connected. Raises `LinkError`."""
        if self.connected:
            return
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            await self.close()
            raise
        except Exception as error:  # The library has errors of many kinds, and garbage brings any of them.
            await self.close()
            raise LinkError(str(error) or type(error).__name__) from error

    async def ask(self, commands: Sequence[Command]) -> list[object]:
        """Send commands in one piece and return their replies.

        Raises `LinkError`; the connection is closed then.
        """
        try:
            await self._connection.send_packed_command(_pack(commands), check_health=False)
            return [await self._reply() for _ in commands]
        except asyncio.CancelledError:
            await self.close()
            raise
        except Exception as error:  # As in `connect`.
            await self.close()
            raise LinkError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Drop the connection, if there is one; never raises."""
        await self._connection.disconnect(nowait=True)

    async def end(self) -> None:
        """Close the connection and wait until it is closed, but not for long; never raises."""
        with contextlib.suppress(Exception):  # Nothing more is asked of it, however it ends.
            async with asyncio.timeout(_END_SECONDS):
                await self._connection.disconnect()

    async def _reply(self) -> object:
        from redis.exceptions import ResponseError

        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return CommandError(str(error))


def _pack(commands: Iterable[Command]) -> bytes:
    import hiredis

    pack: Any = hiredis.pack_command  # Its annotation is that of a tuple of one.
    return b"".join(pack(tuple(command)) for command in commands)


def _make_connection(url: str) -> AbstractConnection:
    """Make a connection that is not open. Raises `ValueError`."""
    try:
        import hiredis  # noqa: F401 - the library works without it, but not fast enough.
        from redis.asyncio.connection import Connection, parse_url
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ModuleNotFoundError as error:
        raise ValueError(EXTRA) from error
    options: dict[str, Any] = dict(parse_url(url))
    kind = options.pop("connection_class", Connection)
    # No attempts and timeouts of its own: the reader bounds an exchange as a whole.
    options |= {"protocol": _PROTOCOL, "retry": Retry(NoBackoff(), 0), "socket_timeout": None}
    options |= {"decode_responses": False, "health_check_interval": 0}
    try:
        connection: AbstractConnection = kind(**options)
    except Exception as error:  # As in `connect`: the library has an error of its own for nearly every option.
        raise ValueError(f"has an option that the client does not know, or not with this value: {error}") from None
    return connection
