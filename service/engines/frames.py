"""Cut a stream of bytes into frames.

Each is its length in four bytes, then so many bytes of MessagePack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import msgpack

HEADER_BYTES: Final = 4
LONGEST_FRAME: Final = 64 * 1024 * 1024
"""Bytes. A request's arrays are some 10 KB, and never more than a request's body allows."""

_encode: Final = msgpack.Encoder().encode_into


class FrameError(ConnectionError):
    """The other side sent what is no frame, or one that is too long."""


def frame(message: Any) -> bytearray:
    """Encode a message, with its length in front."""
    buffer = bytearray(HEADER_BYTES)
    _encode(message, buffer, HEADER_BYTES)
    buffer[:HEADER_BYTES] = (len(buffer) - HEADER_BYTES).to_bytes(HEADER_BYTES, "big")
    return buffer


class FrameReader:
    """Collect what comes in until frames are whole."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """Return the bodies of the frames that are whole now. Raises `FrameError`.

        They must be read before the next call.
        """
        whole: bytes | bytearray = data
        if self._rest:  # Most frames come in one piece: those are not copied.
            self._rest += data
            whole = self._rest
        view, start = memoryview(whole), 0
        while (end := _end(view, start)) is not None:
            yield view[start + HEADER_BYTES : end]
            start = end
        if start == 0 and whole is self._rest:  # Copied at every piece, a long frame would take its length squared.
            view.release()
        else:
            self._rest = bytearray(view[start:])


def _end(view: memoryview, start: int) -> int | None:
    """Return where the frame that begins at `start` ends, if it is whole. Raises `FrameError`."""
    body = start + HEADER_BYTES
    if len(view) < body:
        return None
    length = int.from_bytes(view[start:body], "big")
    if length > LONGEST_FRAME:
        raise FrameError(f"a frame of {length} bytes was announced; at most {LONGEST_FRAME} are allowed")
    return body + length if len(view) >= body + length else None
