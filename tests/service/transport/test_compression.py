"""Compressed bodies over real sockets: the same lists, and a named 4xx for whatever is not one sound stream."""

from __future__ import annotations

import gzip
import json
import random
import select
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard

from models.contract.serving import BATCH_PATH, RERANK_PATH
from tests.service.contract.test_bad_input import assert_problem
from tests.service.live import WAIT_SECONDS, FakeEngine, Live, Reply, fake_model, live_app
from tests.service.raw import connected, connections, head
from tests.service.requests import check_list, request

LIMIT = 100_000
GIB = 1 << 30
UNHURRIED: dict[str, Any] = {"deadline_mode": "observe"}
"""Settings with which a busy machine refuses and degrades nothing."""


def sized_zstd(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(plain)


def unsized_zstd(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(plain)


def streamed_zstd(plain: bytes) -> bytes:
    """A frame as a stream makes it that is flushed after every kilobyte."""
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=True).compressobj()
    parts = [
        compressor.compress(plain[i : i + 1024]) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for i in range(0, len(plain), 1024)
    ]
    return b"".join(parts) + compressor.flush()


COMPRESSORS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, stored": ("x-gzip", lambda plain: gzip.compress(plain, 0)),
    "zstd": ("zstd", sized_zstd),
    "zstd without a size": ("zstd", unsized_zstd),
    "zstd in pieces": ("ZSTD", streamed_zstd),
}
PATHS = (RERANK_PATH, BATCH_PATH)
each_compressor = pytest.mark.parametrize(("coding", "compress"), COMPRESSORS.values(), ids=COMPRESSORS)
each_path = pytest.mark.parametrize("path", PATHS, ids=["single", "batch"])


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_app(fake_model(), max_body_bytes=LIMIT, max_unfinished_per_peer_mb=1, **UNHURRIED) as server:
        yield server


def largest(path: str) -> int:
    """Bytes that a body may have there."""
    return LIMIT if path == RERANK_PATH else 1024 * 1024 // 4


def body_for(path: str, n: int = 100) -> bytes:
    """A request, or a batch of two, of n candidates."""
    return json.dumps(request(n) if path == RERANK_PATH else {"requests": [request(n), request(n)]}).encode()


def padded(path: str, size: int) -> bytes:
    body = body_for(path, 5)
    return body + b" " * (size - len(body))


def send(live: Live, path: str, body: bytes, coding: str) -> Reply:
    return live.request("POST", path, body, {"Content-Type": "application/json", "Content-Encoding": coding})


@each_compressor
def test_a_compressed_request_is_answered_with_the_list_of_a_plain_one(live: Live, coding: str, compress: Any) -> None:
    reply = send(live, RERANK_PATH, compress(body_for(RERANK_PATH)), coding)
    assert reply.status == 200, reply.body
    check_list(request(100), reply.json)
    assert reply.json["items"] == live.post(request(100)).json["items"]


@each_compressor
def test_a_compressed_batch_has_a_list_for_each_request(live: Live, coding: str, compress: Any) -> None:
    reply = send(live, BATCH_PATH, compress(body_for(BATCH_PATH)), coding)
    assert reply.status == 200, reply.body
    assert [result["status"] for result in reply.json["results"]] == [200, 200]
    for result in reply.json["results"]:
        check_list(request(100), result["response"])


def test_a_compressed_body_may_come_in_chunks(live: Live) -> None:
    packed = gzip.compress(body_for(RERANK_PATH))
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(packed[i : i + 99]), packed[i : i + 99]) for i in range(0, len(packed), 99)
    )
    with connected(live.port) as client:
        client.send(head(None, {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}) + chunks + b"0\r\n\r\n")
        check_list(request(100), client.answer().json)


@each_path
@each_compressor
def test_the_limit_holds_for_what_a_body_becomes(live: Live, coding: str, compress: Any, path: str) -> None:
    limit = largest(path)
    assert_problem(send(live, path, compress(padded(path, limit + 1)), coding), 413, "body-too-large", text=str(limit))
    if coding != "x-gzip":  # That one is larger than what it becomes.
        assert send(live, path, compress(padded(path, limit)), coding).status == 200


@each_path
def test_the_limit_holds_for_what_a_body_comes_as(live: Live, path: str) -> None:
    stored = gzip.compress(padded(path, largest(path)), 0)
    assert_problem(send(live, path, stored, "gzip"), 413, "body-too-large")


def gzip_bomb(size: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join(compressor.compress(block) for _ in range(size >> 20)) + compressor.flush()


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[str, bytes]]:
    """Bodies that would become very large; the zstd frames a gigabyte each."""
    return {
        "gzip": ("gzip", gzip_bomb(64 << 20)),
        "zstd": ("zstd", sized_zstd(bytes(GIB))),
        "zstd without a size": ("zstd", unsized_zstd(bytes(GIB))),
    }


@pytest.mark.parametrize("name", ["gzip", "zstd", "zstd without a size"])
def test_a_zip_bomb_is_413_at_once_and_others_are_answered(
    live: Live, bombs: dict[str, tuple[str, bytes]], name: str
) -> None:
    coding, bomb = bombs[name]
    assert len(bomb) < LIMIT
    before = time.process_time()
    for _ in range(10):
        assert_problem(send(live, RERANK_PATH, bomb, coding), 413, "body-too-large")
    # Ten gigabytes, or 640 MB of gzip, would take seconds.
    assert time.process_time() - before < 1.0
    check_list(request(), live.post(request()).json)


WHOLE = body_for(RERANK_PATH, 20)
GZIP, ZSTD, UNSIZED = gzip.compress(WHOLE), sized_zstd(WHOLE), unsized_zstd(WHOLE)
NOISE = random.Random(1).randbytes(70_000)  # A stream of it has several pieces.
LONG = unsized_zstd(NOISE)
UNSOUND: dict[str, tuple[str, bytes]] = {
    "nothing, gzip": ("gzip", b""),
    "nothing, zstd": ("zstd", b""),
    "plain, gzip": ("gzip", WHOLE),
    "plain, zstd": ("zstd", WHOLE),
    "swapped, gzip": ("gzip", ZSTD),
    "swapped, zstd": ("zstd", GZIP),
    "zlib for gzip": ("gzip", zlib.compress(WHOLE)),
    "cut off, gzip": ("gzip", GZIP[:-9]),
    "cut off in its checksum, gzip": ("gzip", GZIP[:-1]),
    "cut off in its head, gzip": ("gzip", GZIP[:5]),
    "cut off, zstd": ("zstd", ZSTD[:-1]),
    "cut off in its head, zstd": ("zstd", ZSTD[:5]),
    "cut off, zstd without a size": ("zstd", UNSIZED[:-1]),
    "garbage after, gzip": ("gzip", GZIP + b"\0"),
    "garbage after, zstd": ("zstd", ZSTD + b"\0"),
    "garbage after, zstd without a size": ("zstd", UNSIZED + b"\0"),
    "garbage in a later piece, zstd without a size": ("zstd", LONG + NOISE[:9_000]),
    "garbage at the end of a long one, zstd without a size": ("zstd", LONG + b"\0"),
    "cut off, long, zstd without a size": ("zstd", LONG[:-1]),
    "two members, gzip": ("gzip", GZIP + gzip.compress(b" ")),
    "two frames, zstd": ("zstd", ZSTD + sized_zstd(b" ")),
    "two frames, zstd without a size": ("zstd", UNSIZED + UNSIZED),
    "skippable frame, zstd": ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + ZSTD),
    "wrong checksum, gzip": ("gzip", GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:]),
    "wrong bytes, gzip": ("gzip", GZIP[:40] + bytes(20) + GZIP[60:]),
    "wrong bytes, zstd": ("zstd", ZSTD[:40] + bytes(20) + ZSTD[60:]),
    # No size, a window of 2**27 bytes, and one empty last block.
    "too wide a window, zstd": ("zstd", b"\x28\xb5\x2f\xfd\x00\x88\x01\0\0"),
}


@pytest.mark.parametrize(("coding", "body"), UNSOUND.values(), ids=UNSOUND)
def test_what_is_not_one_sound_stream_is_400_and_names_the_header(live: Live, coding: str, body: bytes) -> None:
    for path in PATHS:
        reply = send(live, path, body, coding)
        assert_problem(reply, 400, "malformed-encoding", text="content-encoding")
        assert coding in reply.json["detail"]


@each_path
@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd, gzip", "br,identity", "*", "gzip;q=1"])
def test_an_unknown_coding_or_several_are_415_and_the_answer_says_what_is_accepted(
    live: Live, coding: str, path: str
) -> None:
    reply = send(live, path, GZIP, coding)
    assert_problem(reply, 415, "unsupported-media-type", text=coding)
    assert reply.headers["accept-encoding"] == "gzip, zstd, identity"


def test_codings_in_two_fields_are_several(live: Live) -> None:
    fields = f"Content-Encoding: gzip\r\nContent-Length: {len(GZIP)}\r\n\r\n".encode()
    with connected(live.port) as client:
        client.send(head(None, {"Content-Encoding": "gzip"}).removesuffix(b"\r\n") + fields + GZIP)
        assert_problem(client.answer(), 415, "unsupported-media-type", text="gzip,gzip")


@pytest.mark.parametrize("coding", ["identity, gzip", "gzip,", " GZip "])
def test_identity_and_empty_members_are_no_codings(live: Live, coding: str) -> None:
    check_list(request(20), send(live, RERANK_PATH, GZIP, coding).json)


def test_json_that_is_wrong_is_named_as_in_a_plain_body(live: Live) -> None:
    wrong = json.dumps(request(top_n=0)).encode()
    assert_problem(send(live, RERANK_PATH, gzip.compress(wrong), "gzip"), 422, "invalid-request", "top_n")
    assert_problem(send(live, RERANK_PATH, gzip.compress(b""), "gzip"), 400, "malformed-json")


def test_compressed_batches_in_progress_count_as_the_largest() -> None:
    engine = FakeEngine()
    engine.hold.clear()
    packed = gzip.compress(body_for(BATCH_PATH, 5))
    # A batch may have 2 MiB here, so there is room for four that may become so large.
    with (
        live_app(fake_model(engine), max_unfinished_mb=8, max_unfinished_per_peer_mb=8, **UNHURRIED) as live,
        connections(live.port, 5) as clients,
    ):
        for client in clients:
            client.send(head(len(packed), {"Content-Encoding": "gzip"}, path=BATCH_PATH) + packed)
        (refused,), _, _ = select.select([client.sock for client in clients], [], [], WAIT_SECONDS)
        engine.hold.set()
        for client in clients:
            if client.sock is refused:
                assert_problem(client.answer(), 503, "overloaded", text="batches")
            else:
                assert client.answer().status == 200
