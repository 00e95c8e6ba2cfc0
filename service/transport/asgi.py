"""Read and write ASGI messages by hand, for the hot path."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.access.failures import NO_PEER, peer_of
from service.contract.problems import BODY_TOO_LARGE, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE, Problem

ARRIVAL_KEY: Final = "listwright.arrival"
"""Scope key under which `protocol.py` leaves the time at which the request's first bytes were read."""

TICKET_KEY: Final = "listwright.ticket"
"""Scope key of a request that counts as one in progress; see `admission.py`."""

API_KEY_KEY: Final = "listwright.api-key"
"""Scope key with the name of the API key, of a request that counts against the key's limit already."""

PRESENCE_KEY: Final = "listwright.presence"
"""Scope key under which `protocol.py` leaves the connection's `Presence`."""

REQUEST_ID_KEY: Final = "listwright.request-id"
"""Scope key with the request's id, once `request_id_of` has been asked."""

ANSWERED_KEY: Final = "listwright.answered"
"""Scope key with the `Problem` that the HTTP protocol has answered while the body came; the handler sends nothing."""

REQUEST_ID_FIELD: Final = b"x-request-id"
TRACE_FIELD: Final = b"traceparent"

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PARAMETER: Final = re.compile(r'(?:"(?:\\.|[^"\\])*"?|[^;"])+')  # Of a media type; a quoted value may have semicolons.
_ESCAPE: Final = re.compile(r"\\(.)")
_SAMPLED: Final = 1
_LONGEST_ID: Final = 128
# A refused body is read up to so many times the limit: a client that is still sending sees no answer.
_LINGER: Final = 4


class Presence:
    """Tell the work of one connection when its client leaves."""

    __slots__ = ("on_leave",)

    def __init__(self) -> None:
        self.on_leave: Callable[[], None] | None = None
        """Called when the client leaves; set by the one request in progress, and unset by it."""

    def leave(self) -> None:
        """Note that the client has gone."""
        if self.on_leave is not None:
            self.on_leave()


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace (https://www.w3.org/TR/trace-context/) and a span of our own in it.

    `parent_id` is the caller's span; empty: the trace began here.
    """

    trace_id: str
    span_id: str
    flags: str
    parent_id: str = ""

    @property
    def header(self) -> str:
        """Value of `traceparent` for the response."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def sampled(self) -> bool:
        """Tell whether whoever began the trace records it."""
        return bool(int(self.flags, 16) & _SAMPLED)


@dataclass(slots=True)
class Call:
    """Facts of a request before its body is read.

    `request_id` changes if the body has one. `lag` is how long the event loop took from the request's first bytes to
    its handler, in seconds. `peer` is the address of the connection.
    """

    headers: dict[bytes, bytes]
    arrival: float
    lag: float
    request_id: str
    trace: Trace | None
    presence: Presence | None
    peer: str = NO_PEER

    def header(self, name: bytes) -> str | None:
        """Return a header's value, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def read_call(scope: Scope) -> Call:
    """Read headers, arrival, trace and request id (`x-request-id`, or a new one)."""
    now = perf_counter()
    arrival = scope.get(ARRIVAL_KEY) or now
    headers = dict(scope["headers"])
    if b"content-encoding" in headers:  # Several such fields are one list.
        headers[b"content-encoding"] = b",".join(
            value for name, value in scope["headers"] if name == b"content-encoding"
        )
    call = Call(headers, arrival, now - arrival, "", None, scope.get(PRESENCE_KEY), peer_of(scope))
    call.request_id = request_id_of(scope, headers)
    call.trace = parse_traceparent(call.header(TRACE_FIELD))
    return call


def request_id_of(scope: Scope, headers: Mapping[bytes, bytes]) -> str:
    """Return a request's id, the same each time: `x-request-id`, or a new one."""
    known: str | None = scope.get(REQUEST_ID_KEY)
    if known is None:
        asked = headers.get(REQUEST_ID_FIELD, b"").decode("latin-1")
        known = scope[REQUEST_ID_KEY] = asked if is_header_safe(asked) else new_id()
    return known


def new_id() -> str:
    """Return a new id of 16 hexadecimal digits.

    It is no secret: a secret one takes a system call.
    """
    return f"{random.getrandbits(64):016x}"


def parse_traceparent(header: str | None) -> Trace | None:
    """Read the trace, with a new span; None if the standard ignores the header."""
    found = _TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return Trace(trace_id, new_id(), flags, parent_id)


def new_trace() -> Trace:
    """Begin a sampled trace."""
    return Trace(f"{random.getrandbits(128):032x}", new_id(), f"{_SAMPLED:02x}")


def is_header_safe(text: str) -> bool:
    """Tell whether `text` may be echoed in a header."""
    return 0 < len(text) <= _LONGEST_ID and text.isascii() and text.isprintable()


def check_media_type(call: Call) -> None:
    """Raise `Problem` (415) unless the body is JSON in UTF-8."""
    media, _, parameters = (call.header(b"content-type") or "").lower().partition(";")
    if media.strip() != "application/json":
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be application/json, not {media.strip()[:80]!r}")
    for parameter in _PARAMETER.findall(parameters):
        name, _, value = parameter.partition("=")
        if name.strip() != "charset" or (charset := _unquoted(value.strip())) in ("utf-8", "utf8"):
            continue
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"the charset must be utf-8, not {charset[:80]!r}")


def _unquoted(value: str) -> str:
    """Return a parameter's value without the quotes and escapes that it may have."""
    return _ESCAPE.sub(r"\1", value[1:].removesuffix('"')) if value.startswith('"') else value


async def read_body(call: Call, receive: Receive, *, limit: int, seconds: float) -> bytes:
    """Read the whole body. Raises `Problem` (413, 408), or `ClientDisconnect`."""
    declared = call.header(b"content-length")
    length = int(declared) if declared is not None else 0  # The HTTP parser refuses anything but digits.
    waits_for_go_ahead = call.headers.get(b"expect") is not None
    if length > limit and (waits_for_go_ahead or length > _LINGER * limit):
        raise too_large(limit, close=True)
    try:
        async with asyncio.timeout(seconds):
            return await _gather(receive, limit)
    except TimeoutError:
        raise Problem(
            REQUEST_TIMEOUT, f"the body took longer than {seconds:g} s", headers={"connection": "close"}
        ) from None


async def _gather(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > _LINGER * limit:
            raise too_large(limit, close=True)
        if not message.get("more_body", False):
            break
    if size > limit:
        raise too_large(limit, close=False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int, *, close: bool) -> Problem:
    """Make the problem of a body over its limit; `close` ends the connection."""
    headers = {"connection": "close"} if close else {}
    return Problem(BODY_TOO_LARGE, f"the body is larger than {limit} bytes", headers=headers)


async def send_bytes(
    send: Send, status: int, body: bytes, media_type: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send one complete response."""
    start = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
