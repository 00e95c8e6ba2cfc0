"""Exchange raw bytes with a server over one connection, and judge what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
QUIET: Final = 0.02
"""Seconds without a byte after which a connection that has answered is left."""

PROBLEM: Final = "application/problem+json"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [\x20-\x7e\x80-\xff]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_BUSY: Final = {f"urn:listwright:problem:{slug}" for slug in ("not-ready", "overloaded", "shed")}
_NO_BODY: Final = (204, 304)
_ALLOWED_5XX: Final = (501, 505)
_SOUND: Final = {200, 409, 422}


class NotHttp(ValueError):
    """Bytes that are no HTTP response."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; `headers` in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """All that came back; `silent` if neither a response nor an end came in time."""

    received: bytes
    closed: bool
    silent: bool


async def exchange(
    port: int, packets: Sequence[bytes], *, answers: int, patient: bool, head: bool, limit: float
) -> Exchange:
    """Send packets one by one; read `answers` responses, until the end or the limit.

    Who is not `patient` leaves after the first answer if no other follows at once. `head` as in `judge`. Raises
    `OSError` if no connection can be made.
    """
    clock = asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection(HOST, port)
    sending = asyncio.create_task(_send(writer, packets))
    received, closed, found = b"", False, 0
    deadline = clock() + limit
    try:
        while not closed and (left := deadline - clock()) > 0:
            enough = found >= answers or (found > 0 and sending.done() and not patient)
            try:
                async with asyncio.timeout(min(left, QUIET) if enough else left):
                    chunk = await reader.read(65_536)
            except TimeoutError:
                break
            except ConnectionError:
                chunk = b""
            closed = not chunk
            received += chunk
            found = _whole(received, head)
        return Exchange(received, closed, silent=not closed and not found)
    finally:
        sending.cancel()
        writer.transport.abort()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, packets: Sequence[bytes]) -> None:
    for packet in packets:
        writer.write(packet)
        await writer.drain()
        await asyncio.sleep(0.001 if len(packets) > 1 else 0)


def _whole(received: bytes, head: bool) -> int:
    """Count the responses that are whole, and what is no HTTP as one."""
    try:
        return len(parse(received, closed=False, head=head))
    except NotHttp:
        return 1


def parse(received: bytes, *, closed: bool, head: bool = False) -> list[Answer]:
    """Split bytes into responses, without interim ones (1xx) and one that is not whole.

    With `head`, a response may have been one to HEAD: it ends with its headers if another follows or nothing. Raises
    `NotHttp`.
    """
    found: list[Answer] = []
    rest = received
    while rest:
        fields, mark, rest = rest.partition(b"\r\n\r\n")
        if not mark:
            _check_begun(fields, closed)
            break
        status, headers = _head(fields)
        if status < 200:
            continue
        bare = status in _NO_BODY or (head and (not rest or rest.startswith(b"HTTP/1.")))
        length = 0 if bare else _length(headers)
        if length > len(rest):
            if closed:
                raise NotHttp(f"a body of {len(rest)} bytes instead of {length}")
            break
        found.append(Answer(status, headers, rest[:length]))
        rest = rest[length:]
    return found


def _check_begun(head: bytes, closed: bool) -> None:
    """Raise `NotHttp` if a head that has no end yet cannot become one."""
    line, ended, _ = head.partition(b"\r\n")
    if (closed or ended) and not _STATUS_LINE.fullmatch(line):
        raise NotHttp(f"no status line: {head[:60]!r}")
    if closed:
        raise NotHttp(f"a head without an end: {head[:60]!r}")


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    line, *fields = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    if not status:
        raise NotHttp(f"no status line: {line[:60]!r}")
    headers = {}
    for field in fields:
        parts = _HEADER.fullmatch(field)
        if not parts:
            raise NotHttp(f"no header: {field[:60]!r}")
        headers[parts[1].decode().lower()] = parts[2].decode("latin1")
    return int(status[1]), headers


def _length(headers: dict[str, str]) -> int:
    """Read the length; the service never answers in chunks or until the end."""
    text = headers.get("content-length", "")
    if not text.isdecimal():
        raise NotHttp(f"a response without a length: {headers}")
    return int(text)


def fault_of(answer: Answer) -> str | None:
    """Say why a response is none that the service documents; None if it is."""
    if answer.status < 400:
        return f"a redirect to {answer.headers.get('location')!r}" if answer.status >= 300 else None
    kind = answer.headers.get("content-type", "")
    if kind != PROBLEM:
        return f"status {answer.status} with content type {kind!r}"
    try:
        problem = json.loads(answer.body or b"{}")
    except ValueError:
        return f"status {answer.status} with a body that is no JSON"
    if answer.body and problem.get("status") != answer.status:
        return f"status {answer.status} with a problem of status {problem.get('status')}"
    if answer.status >= 500 and answer.status not in _ALLOWED_5XX:
        busy = answer.status == 503 and (not answer.body or problem.get("type") in _BUSY)
        return None if busy else f"status {answer.status}: {problem.get('detail')}"
    return None


def judge(
    result: Exchange, *, head: bool, expected: int, most: int | None, sound: bool
) -> tuple[str | None, Counter[int]]:
    """Say why an exchange is unexpected, if it is, and count its statuses.

    `head` tells that an answer may have no body, `most` how many answers there may be, and `sound` that all `expected`
    ones must come, none of which says that the request was no good HTTP.
    """
    try:
        answers = parse(result.received, closed=result.closed, head=head)
    except NotHttp as error:
        return f"not HTTP: {error}", Counter()
    statuses = Counter(answer.status for answer in answers)
    faults = [fault for answer in answers if (fault := fault_of(answer))]
    if result.silent:
        faults.append("neither an answer nor an end in time")
    if most is not None and len(answers) > most:
        faults.append(f"{len(answers)} answers to {most} requests")
    if sound and (len(answers) != expected or not set(statuses) <= _SOUND):
        faults.append(f"{expected} sound requests were answered {dict(statuses)}")
    return next(iter(faults), None), statuses
