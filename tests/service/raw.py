"""Sockets without an HTTP client in between: bytes go out as a test likes, and answers come back one at a time."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence

from models.contract.serving import RERANK_PATH
from tests.service.live import HOST, WAIT_SECONDS, Reply


class Connection:
    """One client. `read` gives the next answer, or None if the server has closed the connection instead."""

    def __init__(self, port: int, *, timeout: float = WAIT_SECONDS, source: str = HOST) -> None:
        self.sock = socket.create_connection((HOST, port), timeout, source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, body: object, headers: Mapping[str, str] = {}) -> None:
        """Send a whole request, and do not wait for its answer."""
        self.send(post(body, headers))

    def read(self) -> Reply | None:
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return Reply(int(lines[0].split()[1]), headers, self._take(int(headers.get("content-length", "0"))))

    def answer(self) -> Reply:
        """The next answer; it is a failure if there is none."""
        reply = self.read()
        assert reply is not None, "the connection was closed without an answer"
        return reply

    def reset(self) -> None:
        """Leave without a word: the server gets a reset, not an end of file."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._received:
            if not self._more():
                assert not self._received, "the connection was closed in the middle of an answer"
                return None
        found, _, self._received = self._received.partition(mark)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            assert self._more(), "the connection was closed in the middle of an answer"
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _more(self) -> bool:
        chunk = self.sock.recv(65536)
        self._received += chunk
        return bool(chunk)


def head(
    length: int | None = None, headers: Mapping[str, str] = {}, *, version: str = "1.1", path: str = RERANK_PATH
) -> bytes:
    """The headers of a POST whose body has `length` bytes; None: it says nothing of a body."""
    lines = [f"POST {path} HTTP/{version}", "Host: x", "Content-Type: application/json"]
    lines += [] if length is None else [f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: object, headers: Mapping[str, str] = {}, *, version: str = "1.1", path: str = RERANK_PATH) -> bytes:
    """A whole request; anything but bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(len(raw), headers, version=version, path=path) + raw


@contextlib.contextmanager
def connections(port: int, count: int) -> Iterator[Sequence[Connection]]:
    """So many clients, connected at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(port)) for _ in range(count)]


@contextlib.contextmanager
def connected(port: int, *, timeout: float = WAIT_SECONDS) -> Iterator[Connection]:
    """One client, closed on the way out."""
    connection = Connection(port, timeout=timeout)
    with contextlib.closing(connection.sock):
        yield connection
