"""Read past `Upgrade`: the request is answered without it (RFC 9110, 7.8).

The parser ends such a message at its headers. A new one takes over in the middle of the message: it is fed a head that
says the same about the body, of which the protocol hears nothing.
"""

from __future__ import annotations

from typing import Protocol

import httptools

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class Callbacks(Protocol):
    """Hears what the parser finds in requests."""

    def on_message_begin(self) -> None:
        """Begin a request."""

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""

    def on_headers_complete(self) -> None:
        """End the head."""

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""

    def on_message_complete(self) -> None:
        """End the request."""


class _AfterHead:
    """Passes on all callbacks but those of the first head."""

    def __init__(self, protocol: Callbacks) -> None:
        self._protocol = protocol
        self.primed = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self.primed:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.primed:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.primed:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.primed:
            self._protocol.on_headers_complete()
        self.primed = True


def new_parser(callbacks: object) -> httptools.HttpRequestParser:
    """Make a parser that ignores what follows a request with `Connection: close`."""
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def parser_within(
    protocol: Callbacks, ended: httptools.HttpRequestParser, fields: list[tuple[bytes, bytes]]
) -> tuple[httptools.HttpRequestParser, bytes]:
    """Make the parser that takes over from an `ended` one, and its first bytes."""
    kept = b"keep-alive" if ended.should_keep_alive() else b"close"
    framing = b"".join(b"%b: %b\r\n" % field for field in fields if field[0] in _FRAMING)
    line = b"%b / HTTP/%b\r\n" % (ended.get_method(), ended.get_http_version().encode())
    return new_parser(_AfterHead(protocol)), line + framing + b"connection: " + kept + b"\r\n\r\n"
