"""Make requests that are wrong in one or more ways, from a seed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from loadtest.resilience.fuzz.vocabulary import (
    CHUNK_SIZES,
    CODINGS,
    FIELDS,
    HARD_BODIES,
    LENGTHS,
    METHODS,
    ODD_METHODS,
    TARGETS,
    VERSIONS,
)

Port = Literal["public", "admin"]
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Draft:
    """A request in parts; `framed` while its end is where its headers say."""

    method: bytes
    target: bytes
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    headers: Headers = field(default_factory=list)
    framed: bool = True

    def encode(self) -> bytes:
        lines = [b" ".join((self.method, self.target, self.version)), *(b": ".join(pair) for pair in self.headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class StreamCase:
    """Bytes for one connection; `most_answers` where it is known how many requests they are.

    A `sound` case has nothing that a server may refuse: each request gets the answer that it would get otherwise.
    """

    port: Port
    packets: tuple[bytes, ...]
    done: tuple[str, ...]
    expected: int
    most_answers: int | None
    sound: bool

    @property
    def head(self) -> bool:
        """Tell whether it may be a HEAD request, whose answer has no body."""
        return b"HEAD" in b"".join(self.packets)

    def save(self, path: Path, fault: str) -> None:
        """Write the case, with the fault, so that it can be sent again."""
        table = {**asdict(self), "packets": [base64.b64encode(p).decode() for p in self.packets], "fault": fault}
        path.write_text(json.dumps(table, indent=1), "utf-8")

    @classmethod
    def load(cls, path: Path) -> StreamCase:
        """Read what `save` has written."""
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        packets = tuple(base64.b64decode(packet) for packet in table["packets"])
        return cls(
            table["port"], packets, tuple(table["done"]), table["expected"], table["most_answers"], table["sound"]
        )


def seeds(rerank: bytes, *others: tuple[bytes, str]) -> Mapping[Port, Sequence[Draft]]:
    """Return a valid request for every URL of both ports.

    `rerank` is a body, and `others` are further ones, each with its content coding, empty for none.
    """

    def get(target: bytes) -> Draft:
        return Draft(b"GET", target)

    public = [
        b"/v1/models",
        b"/v1/slo",
        b"/v2/health/live",
        b"/v2/health/ready",
        b"/metrics",
        b"/docs",
        b"/openapi.json",
    ]
    admin = [b"/admin/v1/models", b"/docs", b"/openapi.json"]
    bodies = [(rerank, ""), *others]
    posts = [
        Draft(b"POST", b"/v1/rerank", body, headers=[(b"Content-Encoding", coding.encode())] if coding else [])
        for body, coding in bodies
        for _ in range(-(-len(public) // len(bodies)))
    ]
    unknown = b'{"model": "no such model"}'
    return {
        "public": [*posts, *map(get, public)],
        "admin": [*map(get, admin), *[Draft(b"POST", b"/admin/v1/reload", unknown)] * len(admin)],
    }


def make_case(rng: random.Random, drafts: Mapping[Port, Sequence[Draft]]) -> StreamCase:
    """Make a case of one to three requests, some with faults, in packets."""
    port: Port = "admin" if rng.random() < 0.2 else "public"
    done: list[str] = []
    made = [_request(rng, rng.choice(drafts[port]), done) for _ in range(rng.choice((1, 1, 1, 1, 2, 3)))]
    stream = b"".join(draft.encode() for draft in made)
    known = all(draft.framed for draft in made)
    if rng.random() < 0.4:
        known = False
        for _ in range(rng.randint(1, 4)):
            change = rng.choice(_BYTE_CHANGES)
            done.append(change.__name__)
            stream = change(rng, stream)
    packets = _packets(rng, stream, done)
    sound = known and set(done) <= {"upgrade", "split"}
    return StreamCase(port, packets, tuple(done), len(made), len(made) if known else None, sound)


def _request(rng: random.Random, seed: Draft, done: list[str]) -> Draft:
    draft = replace(seed, headers=[(b"Host", b"127.0.0.1"), *seed.headers])
    if seed.body:
        draft.headers.append((b"Content-Type", b"application/json"))
    if seed.body or rng.random() < 0.1:
        if rng.random() < 0.25:
            _in_chunks(rng, draft)
        else:
            draft.headers.append((b"Content-Length", b"%d" % len(draft.body)))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        change = rng.choice(_CHANGES)
        done.append(change.__name__)
        change(rng, draft)
    return draft


def _in_chunks(rng: random.Random, draft: Draft) -> None:
    size = rng.randint(1, 400)
    parts = [draft.body[i : i + size] for i in range(0, len(draft.body), size)]
    draft.body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    draft.headers.append((b"Transfer-Encoding", b"chunked"))


def change_method(rng: random.Random, draft: Draft) -> None:
    draft.method = rng.choice(METHODS) if rng.random() < 0.7 else rng.choice(ODD_METHODS)
    draft.framed = False  # A server may close, or not know where such a request ends.


def change_target(rng: random.Random, draft: Draft) -> None:
    draft.target = rng.choice(TARGETS)
    draft.framed = False


def change_version(rng: random.Random, draft: Draft) -> None:
    draft.version = rng.choice(VERSIONS)
    draft.framed = False


def add_field(rng: random.Random, draft: Draft) -> None:
    draft.headers.insert(rng.randint(0, len(draft.headers)), rng.choice(FIELDS))


def upgrade(rng: random.Random, draft: Draft) -> None:
    token = rng.choice((b"h2c", b"websocket", b"TLS/1.0", b"x"))
    draft.headers += [(b"Connection", b"Upgrade"), (b"Upgrade", token)]


def repeat_field(rng: random.Random, draft: Draft) -> None:
    if draft.headers:
        name, value = rng.choice(draft.headers)
        draft.headers.append((name, value if rng.random() < 0.5 else value + b"1"))
        draft.framed = False


def remove_field(rng: random.Random, draft: Draft) -> None:
    if draft.headers:
        del draft.headers[rng.randrange(len(draft.headers))]
        draft.framed = False


def add_many_fields(rng: random.Random, draft: Draft) -> None:
    draft.headers += [(b"X-%d" % i, b"v" * rng.randint(0, 40)) for i in range(rng.choice((90, 110, 1000)))]


def change_length(rng: random.Random, draft: Draft) -> None:
    draft.headers.append((b"Content-Length", rng.choice(LENGTHS)))
    draft.framed = False


def change_coding(rng: random.Random, draft: Draft) -> None:
    draft.headers.append((b"Transfer-Encoding", rng.choice(CODINGS)))
    draft.framed = False


def change_chunk(rng: random.Random, draft: Draft) -> None:
    size = rng.choice(CHUNK_SIZES)
    trailer = rng.choice((b"", b"X: 1\r\n", b"X: 1\r\n" * 500, b"\x00\r\n"))
    draft.body = size + b"\r\n" + draft.body + b"\r\n0\r\n" + trailer + b"\r\n"
    draft.headers = [pair for pair in draft.headers if pair[0] != b"Content-Length"] + [
        (b"Transfer-Encoding", b"chunked")
    ]
    draft.framed = False


def change_body(rng: random.Random, draft: Draft) -> None:
    if draft.body:
        body = bytearray(draft.body)
        for _ in range(rng.randint(1, 6)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        draft.framed = draft.framed and (b"Transfer-Encoding", b"chunked") not in draft.headers
        draft.body = bytes(body)


def replace_body(rng: random.Random, draft: Draft) -> None:
    if draft.body:
        body = rng.choice(HARD_BODIES)
        if draft.target == b"/v1/rerank" and rng.random() < 0.3:
            draft.target, body = b"/v1/rerank/batch", b'{"requests":[' + body + b"]}"
        replaced = (b"Content-Length", b"Transfer-Encoding", b"Content-Encoding")
        draft.headers = [pair for pair in draft.headers if pair[0] not in replaced]
        draft.headers.append((b"Content-Length", b"%d" % len(body)))
        draft.body = body


Change = Callable[[random.Random, Draft], None]
_CHANGES: Final[Sequence[Change]] = (
    *(change_method, change_target, change_version, add_field, add_field, upgrade, repeat_field, remove_field),
    *(add_many_fields, change_length, change_coding, change_chunk, change_body, change_body, replace_body),
)


def flip_bits(rng: random.Random, stream: bytes) -> bytes:
    changed = bytearray(stream)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, stream: bytes) -> bytes:
    return stream[: rng.randint(1, max(1, len(stream)))]


def remove_bytes(rng: random.Random, stream: bytes) -> bytes:
    start = rng.randint(0, len(stream))
    return stream[:start] + stream[start + rng.randint(1, 40) :] or b"\r"


def put_bytes(rng: random.Random, stream: bytes) -> bytes:
    start = rng.randint(0, len(stream))
    put = rng.choice(
        (rng.randbytes(rng.randint(1, 40)), b"\x00", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":")
    )
    return stream[:start] + put + stream[start:]


def repeat_bytes(rng: random.Random, stream: bytes) -> bytes:
    start = rng.randint(0, len(stream))
    return stream + stream[start : start + rng.randint(1, 4000)] * rng.choice((1, 1, 2, 50))


def change_line_ends(rng: random.Random, stream: bytes) -> bytes:
    return stream.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), rng.choice((1, -1)))


_BYTE_CHANGES: Final = (flip_bits, flip_bits, cut, remove_bytes, put_bytes, repeat_bytes, change_line_ends)


def _packets(rng: random.Random, stream: bytes, done: list[str]) -> tuple[bytes, ...]:
    if rng.random() < 0.7:
        return (stream,)
    done.append("split")
    ends = sorted({rng.randint(0, len(stream)) for _ in range(rng.randint(1, 6))} | {len(stream)})
    return tuple(stream[a:b] for a, b in zip([0, *ends], ends, strict=False) if b > a)
