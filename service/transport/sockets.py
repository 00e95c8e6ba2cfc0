"""Bind and empty listening sockets, hear signals, and print the line with the ports."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from service.environment import PREFIX
from service.settings import Settings, SettingsError, flag

BACKLOG: Final = 2048
_log = logging.getLogger(__name__)
_LAST_PORT: Final = 65535
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
        """Print one JSON line with the ports, or the path of the Unix socket.

        The service does not depend on who reads that: if it cannot be printed, it is logged as an error.
        """
        address = self.public.getsockname()
        where = {"uds": address} if isinstance(address, str) else {"host": address[0], "port": address[1]}
        admin_host, admin_port = self.admin.getsockname()[:2]
        line = json.dumps({"event": "listening", **where, "admin_host": admin_host, "admin_port": admin_port})
        try:
            print(line, flush=True)
        except OSError as error:
            _log.error("cannot print to stdout where the service listens: %s; it would be %s", error, line)
            _discard_stdout()


def _discard_stdout() -> None:
    """Send stdout nowhere, or what it has buffered would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def bind_sockets(settings: Settings) -> Sockets:
    """Bind both sockets. Raises `SettingsError` naming the setting."""
    admin_port = _admin_port(settings)
    with contextlib.ExitStack() as undo:
        public = (
            _bind(("host", "port"), settings.host, settings.port) if settings.uds is None else _bind_unix(settings.uds)
        )
        undo.enter_context(public)
        undo.callback(stop_connecting, public)
        sockets = Sockets(public, _bind(("admin_host", "admin_port"), settings.admin_host, admin_port))
        undo.pop_all()
    return sockets


def _admin_port(settings: Settings) -> int:
    """Return the port of the admin listener, 0 for any. Raises `SettingsError`."""
    if settings.admin_port is not None:
        return settings.admin_port
    if settings.port == _LAST_PORT and settings.uds is None:
        raise SettingsError(
            f"LISTWRIGHT_ADMIN_PORT (--admin-port): must be given, as no port follows the public one, {_LAST_PORT}"
        )
    return settings.port + 1 if settings.port else 0


def _bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket, in place of a dead server's file. Raises `SettingsError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingsError(f"LISTWRIGHT_UDS (--uds): cannot listen on {path}: {error}") from None
    return sock


def _remove_dead(path: Path) -> None:
    """Remove a socket's file on which nobody listens. Raises `OSError` for any other file."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise OSError("there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError("another process listens there")


def _bind(names: tuple[str, str], host: str, port: int) -> socket.socket:
    """Bind a socket. Raises `SettingsError` naming the two settings; either may be at fault."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:  # A name such as `a..b` cannot be encoded.
        settings = " or ".join(f"{PREFIX}{name.upper()} ({flag(name)})" for name in names)
        raise SettingsError(f"{settings}: cannot listen on {host}:{port}: {error}") from None


def stop_connecting(sock: socket.socket) -> None:
    """Let the kernel make no more connections on the listening `sock`.

    Else a client may connect between finding the queue empty and closing, and its request would be lost. That holds in
    every process in which the socket is open. A client that tries meanwhile tries again after a second, and is refused
    then if the socket has been closed. Where the system has no such filters nothing happens. A Unix socket loses its
    file, so that nobody finds it any more.
    """
    if sock.family == socket.AF_UNIX:
        Path(sock.getsockname()).unlink(missing_ok=True)
        return
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # Some sandboxes do not offer it.
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def take_all(sock: socket.socket, most: int) -> list[socket.socket]:
    """Accept the connections that wait, at most `most`, without waiting."""
    taken: list[socket.socket] = []
    backlog = socket.socket(fileno=sock.fileno())  # No duplicate: there may be no descriptor left for one.
    try:
        backlog.setblocking(False)
        with contextlib.suppress(OSError):  # None is left, or no descriptor for one.
            while len(taken) < most:
                taken.append(backlog.accept()[0])
    finally:
        backlog.detach()
    return taken


def stop_event() -> asyncio.Event:
    """Make an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextlib.contextmanager
def on_hangup(*reloads: Callable[[], object]) -> Iterator[None]:
    """Call all of `reloads` on SIGHUP."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()

    def reload() -> None:
        for one in reloads:
            one()

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
