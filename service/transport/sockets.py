"""Bind and empty listening sockets, hear signals, and print the line with the ports."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from service.settings import Settings, SettingsError

BACKLOG: Final = 2048
_SO_ATTACH_FILTER: Final = 26
# A classic BPF program over the TCP header, one (code, jump if true, jump if false, operand) an instruction.
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


@dataclass(frozen=True)
class Sockets:
    """The two sockets that the service listens on, bound."""

    public: socket.socket
    admin: socket.socket

    def announce(self) -> None:
        """Print one JSON line with the ports in use."""
        host, port = self.public.getsockname()[:2]
        admin_host, admin_port = self.admin.getsockname()[:2]
        line = {"event": "listening", "host": host, "port": port, "admin_host": admin_host, "admin_port": admin_port}
        print(json.dumps(line), flush=True)


def bind_sockets(settings: Settings) -> Sockets:
    """Bind both sockets. Raises `SettingsError` naming the setting."""
    public = _bind("port", settings.host, settings.port)
    return Sockets(public, _bind("admin_port", settings.admin_host, _admin_port(settings)))


def _admin_port(settings: Settings) -> int:
    if settings.admin_port is not None:
        return settings.admin_port
    return settings.port + 1 if settings.port else 0


def _bind(name: str, host: str, port: int) -> socket.socket:
    """Bind a socket. Raises `SettingsError` naming the setting."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"LISTWRIGHT_{name.upper()}: cannot listen on {host}:{port}: {error}") from None


def stop_connecting(sock: socket.socket) -> None:
    """Let the kernel make no more connections on the listening `sock`.

    Else a client may connect between finding the queue empty and closing, and its request would be lost. That holds in
    every process in which the socket is open. A client that tries meanwhile tries again after a second, and is refused
    then if the socket has been closed. Where the system has no such filters nothing happens.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # Some sandboxes do not offer it.
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def take_all(sock: socket.socket, most: int) -> list[socket.socket]:
    """Accept the connections that wait, at most `most`, without waiting."""
    taken: list[socket.socket] = []
    with socket.socket(fileno=os.dup(sock.fileno())) as backlog, contextlib.suppress(BlockingIOError):
        backlog.setblocking(False)
        while len(taken) < most:
            taken.append(backlog.accept()[0])
    return taken


def stop_event() -> asyncio.Event:
    """Make an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextlib.contextmanager
def on_hangup(reload: Callable[[], object]) -> Iterator[None]:
    """Call `reload` on SIGHUP."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        # Ignored from here on: its default would end the process in the middle of draining.
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the event loop: uvloop's where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop

    return cast("Callable[[], Any]", uvloop.new_event_loop)
