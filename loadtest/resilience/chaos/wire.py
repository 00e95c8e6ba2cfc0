"""Write bytes that no HTTP library would send, and read the answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from loadtest.rig.server import HOST

CLOSED: Final = 0
SILENT: Final = -1
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; a status of `CLOSED` or `SILENT` stands for none."""

    status: int
    body: bytes = b""
    closes: bool = False

    def __str__(self) -> str:
        return {CLOSED: "closed without an answer", SILENT: "no answer"}.get(self.status, str(self.status))


class Wire:
    """One connection to 127.0.0.1, or to a Unix socket."""

    def __init__(self, target: int | str, timeout: float = 10.0) -> None:
        self._received = bytearray()
        if isinstance(target, int):
            self.socket = socket.create_connection((HOST, target), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send everything; return False if the server closed the connection before the end."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def reply(self) -> Reply:
        """Read one answer with a Content-Length."""
        try:
            while (end := self._received.find(_HEAD_END)) < 0:
                if not self._receive():
                    return Reply(CLOSED)
            head = bytes(self._received[:end]).lower()
            start = end + len(_HEAD_END)
            stop = start + int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            while len(self._received) < stop:
                if not self._receive():
                    return Reply(CLOSED)
        except TimeoutError:
            return Reply(SILENT)
        body = bytes(self._received[start:stop])
        del self._received[:stop]
        return Reply(int(head[9:12]), body, b"connection: close" in head)

    def closed_within(self, seconds: float) -> bool:
        """Tell whether the server closes the connection within a time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self._receive():
                    return True
            except TimeoutError:
                return False
        return False

    def _receive(self) -> bool:
        try:
            chunk = self.socket.recv(1 << 18)
        except TimeoutError:
            raise
        except OSError:
            return False
        self._received += chunk
        return bool(chunk)


def ask(target: int | str, *pieces: bytes, pause: float = 0.05, timeout: float = 10.0) -> Reply:
    """Send pieces in packets of their own on a new connection; return the first answer."""
    with Wire(target, timeout) as wire:
        send_apart(wire, pieces, pause)
        return wire.reply()


def send_apart(wire: Wire, pieces: Iterable[bytes], pause: float = 0.05) -> None:
    """Send pieces with a pause between them, so that the server reads each alone."""
    for place, piece in enumerate(pieces):
        if place:
            time.sleep(pause)
        if not wire.send(piece):
            return


def head(method: str, path: str, *fields: str, version: str = "1.1", host: str = HOST) -> bytes:
    """Return a request's head; an empty `host` leaves the field out."""
    lines = [f"{method} {path} HTTP/{version}", *([f"Host: {host}"] if host else []), *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
