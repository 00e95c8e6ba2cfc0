"""Bind sockets, hear signals, and print the line with the ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from service.settings import Settings, SettingsError
from service.transport.listener import BACKLOG


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
