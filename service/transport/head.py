"""Check the head of a request: its size, its host, and where its body ends.

RFC 9112 (HTTP/1.1), sections 3.2 and 6. The parser itself refuses several lengths, or a length beside a coding.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from service.contract.problems import HEAD_TOO_LARGE, MALFORMED_HTTP, NOT_IMPLEMENTED, URL_TOO_LONG, Problem
from service.transport.limits import FIELDS, HEAD_BYTES

CHUNKED: Final = -1
"""Length of a body that comes in chunks."""

Fields = list[tuple[bytes, bytes]]

# An IP literal in brackets, or a name or IPv4 address (RFC 3986, 3.2.2); then perhaps a port.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?", re.ASCII)
_LINE_REST: Final = len(b"  HTTP/1.1\r\n")
_FIELD_REST: Final = len(b": \r\n")
_END: Final = len(b"\r\n")


def body_length(version: str, fields: Fields) -> int:
    """Check a head; return the declared length of its body, or `CHUNKED`. Raises `Problem`."""
    if len(fields) > FIELDS:
        raise Problem(HEAD_TOO_LARGE, f"more than {FIELDS} header fields")
    hosts = length = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                raise Problem(MALFORMED_HTTP, "Host is not a name or address with at most a port")
        elif name == b"content-length":
            length = int(value)  # The parser refuses anything but digits, and a second one.
        elif name == b"transfer-encoding":
            check_coding(version, value)
            length = CHUNKED
    if hosts != 1 and (hosts or version != "1.0"):
        raise Problem(MALFORMED_HTTP, "a request must have exactly one Host field")
    if version not in ("1.1", "1.0"):
        raise Problem(MALFORMED_HTTP, f"HTTP/{version} is not spoken here")
    return length


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Tell whether `value` is a valid `Host`."""
    return _HOST.fullmatch(value) is not None


def check_coding(version: str, value: bytes) -> None:
    """Raise `Problem` unless the transfer coding is `chunked` alone."""
    if version == "1.0":
        raise Problem(MALFORMED_HTTP, "HTTP/1.0 has no Transfer-Encoding")
    if value.strip().lower() != b"chunked":
        raise Problem(NOT_IMPLEMENTED, "no Transfer-Encoding but chunked is supported")


def check_size(method: bytes, url: bytes, fields: Fields) -> None:
    """Raise `Problem` if the request line and the fields are too long together."""
    line = len(method) + len(url) + _LINE_REST
    if line > HEAD_BYTES:
        raise too_large(url)
    if line + _END + sum(len(name) + len(value) + _FIELD_REST for name, value in fields) > HEAD_BYTES:
        raise too_large(b"")


def too_large(url: bytes) -> Problem:
    """Make the problem of a head over the limit (414 or 431)."""
    if len(url) > HEAD_BYTES - 2048:
        return Problem(URL_TOO_LONG, f"the request line is longer than {HEAD_BYTES} bytes")
    return Problem(HEAD_TOO_LARGE, f"the request line and header fields are longer than {HEAD_BYTES} bytes")
