"""Undo the content coding of a request's body, within the limit on bodies.

RFC 9110, section 8.4. A body is one gzip member (RFC 1952) or one zstd frame (RFC 8878) and nothing else. What it would
become past the limit is never computed.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final, Literal, cast

import zstandard

from service.contract.problems import MALFORMED_ENCODING, UNSUPPORTED_MEDIA_TYPE, Problem
from service.transport.asgi import Call, too_large

Coding = Literal["gzip", "zstd"]

ACCEPTED: Final = "gzip, zstd, identity"
"""Content codings of bodies, as `Accept-Encoding` lists them."""

_NAMES: Final = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
_GZIP_ONLY: Final = 16 + zlib.MAX_WBITS
_BLOCK: Final = 256 * 1024  # Takes about a millisecond.
_PIECE: Final = 64 * 1024  # Of a compressed body.
_WINDOW: Final = 8 * 1024 * 1024  # A decoder need not hold more (RFC 9659).
_OF_UNKNOWN_SIZE: Final = zstandard.CONTENTSIZE_UNKNOWN


def content_coding(call: Call) -> Coding | None:
    """Return the coding of a request's body, None for a plain one. Raises `Problem` (415)."""
    header = call.header(b"content-encoding")
    if header is None:
        return None
    named = [name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not named:
        return None
    coding = _NAMES.get(named[0])
    if coding is None or len(named) > 1:
        several = "more than one coding" if coding else "that"
        detail = f"content-encoding: {header[:40]!r}: {several} is not supported; known are {ACCEPTED}"
        raise Problem(UNSUPPORTED_MEDIA_TYPE, detail, headers={"accept-encoding": ACCEPTED})
    return cast(Coding, coding)


async def decompress(body: bytes, coding: Coding, limit: int) -> bytes:
    """Return a body of at most `limit` bytes without its coding. Raises `Problem` (400, 413)."""
    return await _gunzip(body, limit) if coding == "gzip" else await _unzstd(body, limit)


async def _gunzip(body: bytes, limit: int) -> bytes:
    """Undo gzip block by block; other requests have their turn between two blocks."""
    decompressor = zlib.decompressobj(_GZIP_ONLY)
    blocks: list[bytes] = []
    size, rest = 0, body
    while True:
        try:
            block = decompressor.decompress(rest, _BLOCK)
        except zlib.error as error:
            raise _malformed("gzip", str(error)) from None
        blocks.append(block)
        size += len(block)
        if size > limit:
            raise too_large(limit, close=False)
        rest = decompressor.unconsumed_tail
        if decompressor.eof or (not rest and len(block) < _BLOCK):
            break
        await asyncio.sleep(0)
    if not decompressor.eof:
        raise _malformed("gzip", "it is cut off")
    if decompressor.unused_data:
        raise _malformed("gzip", "something follows its end")
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


async def _unzstd(body: bytes, limit: int) -> bytes:
    """Undo zstd at once: it writes some 1 GB/s, and without the interpreter's lock."""
    try:
        declared = zstandard.get_frame_parameters(body).content_size
        if declared != _OF_UNKNOWN_SIZE and declared > limit:
            raise too_large(limit, close=False)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        plain = decompressor.decompress(body, max_output_size=limit, allow_extra_data=False)
        if declared == _OF_UNKNOWN_SIZE:
            await _check_end(body)
    except zstandard.ZstdError as error:
        if _exceeds(body, limit):
            raise too_large(limit, close=False) from None
        raise _malformed("zstd", str(error)) from None
    return plain


async def _check_end(body: bytes) -> None:
    """Raise `Problem` if anything follows a sound frame.

    Decompression at once does not notice it where the frame does not tell its size.
    """
    again = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    rest = memoryview(body)
    while rest and not again.eof:
        await asyncio.sleep(0)
        again.decompress(rest[:_PIECE])
        rest = rest[_PIECE:]
    if rest or again.unused_data:
        raise _malformed("zstd", "something follows its end")


def _exceeds(body: bytes, limit: int) -> bool:
    """Tell whether a frame was refused for having more than `limit` bytes."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    size = 0
    try:
        with decompressor.stream_reader(body) as reader:
            while size <= limit and (block := reader.read(min(_BLOCK, limit + 1 - size))):
                size += len(block)
    except zstandard.ZstdError:
        return False
    return size > limit


def _malformed(coding: Coding, why: str) -> Problem:
    detail = f"content-encoding: the body is not one whole {coding} stream: {why[:200]}"
    return Problem(MALFORMED_ENCODING, detail)
