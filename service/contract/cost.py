"""Bound the time that decoding a body takes, by counting bytes before it is decoded.

A decoder cannot be interrupted, so a body that would hold the event loop for long has to be refused before. What takes
time is counted in *fields*, each about 0.25 µs:

- a field of an object counts 1, as does an array, and a value in an array 1/4;
- more than 20 digits in a row count 4 more, and 1/2 more for each digit past 64;
- a number with an exponent of three digits, or with 20 digits and an exponent, counts 100 more. Such numbers miss the
  fast paths of reading decimals (Lemire 2021, "Number parsing at a gigabyte per second"): `5e-324` alone takes 10 µs,
  a crafted one 25 µs. No program that writes the shortest form of a double writes 20 digits and an exponent.

Bytes are first counted as if none were text, long texts left out, and roughly, then exactly; only if that is too much,
once more without the strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

BYTES_PER_FIELD: Final = 20
"""A body may have one field for so many bytes of the largest body that is allowed."""

MOST_FIELDS: Final = 2 * 1024 * 1024 // BYTES_PER_FIELD
"""What a body may count where bodies may have as many bytes as by default."""

_FEWEST: Final = 16_384  # So many are allowed for any size of body: they take a few milliseconds.
_VALUES: Final = 4
_LONG: Final = 4
_SLOW: Final = 100
_SHORTEST_SLOW: Final = 6  # 1e300 and a comma
_MOST_PER_BYTE: Final = 1 / 2  # of JSON without a slow number: the digits of one long number
_BLOCK: Final = 65_536  # Stays in a core's cache. A number across two blocks may be missed, which does not matter.
_MOST_PER_LONG: Final = 6  # for each place that `_long_numbers` counts: 4 for its digits, and 2 if they pass 64
_LONG_TEXT: Final = 8192
_AFTER_TEXT: Final = b",:]} \t\n\r"
_QUOTE: Final = ord('"')
_COLON: Final = ord(":")
_COMMA: Final = ord(",")
_ARRAY: Final = ord("[")

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


def most_fields(max_body_bytes: int) -> int:
    """Return how much a body may count where bodies may have `max_body_bytes`."""
    return max(_FEWEST, max_body_bytes // BYTES_PER_FIELD)


def cost_over(body: bytes, most: int) -> int:
    """Return the count of a body that counts more than `most`, else 0."""
    if len(body) * _SLOW <= most * _SHORTEST_SLOW:
        return 0
    body = _without_long_texts(body)
    slow, blocks = _SLOW * _exponents_in(body), _blocks(body)
    if slow <= most - len(body) * _MOST_PER_BYTE or slow + sum(map(_most_others, blocks)) <= most:
        return 0
    if sum(map(_count, blocks)) <= most:
        return 0
    count = sum(map(_count, _without_strings(body)))
    return count if count > most else 0


def _without_long_texts(body: bytes) -> bytes:
    """Leave out long texts that have no escapes.

    Such is base64, which is full of digits before an `e`. What stands between one quote and the next is text, or begins
    with what may follow a text. If it is anything else, it is a fault at which all decoders stop, so it takes no time
    either.
    """
    kept: list[bytes] = []
    start = place = 0
    while place + _LONG_TEXT <= len(body):
        quote = body.rfind(b'"', place, place + _LONG_TEXT)
        if quote >= 0:
            place = quote + 1
            continue
        end = body.find(b'"', place + _LONG_TEXT)
        if end < 0:
            break
        # With an escape the quote at its end may be none.
        if place and body[place] not in _AFTER_TEXT and body.find(b"\\", place, end) < 0:
            kept.append(body[start:place])
            start = end
        place = end + 1
    return b"".join((*kept, body[start:])) if kept else body


def _exponents_in(body: bytes) -> int:
    """Count the places where an `e` follows a digit: no fewer than slow numbers.

    This is all that is done for most bodies, so it takes as few steps as it can.
    """
    letters = b"eE" if b"E" in body else b"e"
    blocks = _blocks(body)
    return sum(_set((b[1:] == letter) & ((b[:-1] - ord("0")) < 10)) for b in blocks for letter in letters)


def _most_others(block: Bytes) -> int:
    """Return a rough count, never too low, of all but slow numbers."""
    fields, commas = _set(block == _COLON), _set(block == _COMMA)
    return fields + _set(block == _ARRAY) + commas // _VALUES + _MOST_PER_LONG * _long_numbers(block)


def _long_numbers(block: Bytes) -> int:
    """Count places with 16 digits, and four more behind or two around.

    They begin at a multiple of four bytes. Every 21 digits in a row have one, in whatever place they begin, and every
    four more have another.
    """
    fours = block[: len(block) // 4 * 4].view(np.uint32)
    digits = (fours & 0xF0F0F0F0) == 0x30303030  # and some that are none, which does no harm
    first = np.flatnonzero(_both(_both(digits, 1), 2))
    if not len(first):
        return 0
    behind = digits.take(first + 4, mode="clip")
    sides = [(block.take(4 * first + apart, mode="clip") & 0xF0) == 0x30 for apart in (-2, -1, 16, 17)]
    return _set(behind | np.logical_and.reduce(sides))


def _blocks(body: bytes) -> list[Bytes]:
    data = np.frombuffer(body, np.uint8)
    return [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)]


def _count(block: Bytes) -> int:
    """Count bytes as if all of them stood outside of strings."""
    fields, commas = _set(block == _COLON), _set(block == _COMMA)
    sixteen = _sixteen((block - ord("0")) < 10)
    starts = _both(sixteen, 5)
    long = _set(starts[1:] > starts[:-1])
    past = _set(_both(_both(_both(sixteen, 16), 32), 1)) if long else 0
    values = max(0, commas - fields) // _VALUES
    return fields + _set(block == _ARRAY) + values + _LONG * long + past // 2 + _SLOW * _slow_numbers(block)


def _sixteen(flags: Flags) -> Flags:
    """Mark where 16 flags in a row begin."""
    return _both(_both(_both(_both(flags, 1), 2), 4), 8)


def _set(flags: Flags) -> int:
    """Count the flags that are set."""
    return int(np.count_nonzero(flags))


def _both(flags: Flags, apart: int) -> Flags:
    """Mark where a flag is set together with the one `apart` places on."""
    both: Flags = flags[apart:] & flags[:-apart]
    return both


def _exponents(block: Bytes) -> Flags:
    """Mark each digit that an `e` follows."""
    flags: Flags = ((block[:-1] - ord("0")) < 10) & ((block[1:] | 0x20) == ord("e"))
    return flags


def _slow_numbers(block: Bytes) -> int:
    """Count numbers whose exponent has three digits, or follows 20 digits, a point included."""
    ends = np.flatnonzero(_exponents(block))
    if not len(ends):
        return 0
    padded = np.append(block, np.zeros(7, np.uint8))
    first = ends + 2
    first += (padded[first] == ord("-")) | (padded[first] == ord("+"))
    one, two, three, four = ((padded[first + k] - ord("0")) < 10 for k in range(4))
    twenty = _both(_sixteen((block - ord(".")) < 12), 4)  # . / and digits
    long = (ends >= 19) & twenty[np.maximum(ends - 19, 0)] if len(twenty) else np.False_
    return _set(one & ((two & three & ((padded[first] != ord("0")) | four)) | long))


def _without_strings(body: bytes) -> Iterator[Bytes]:
    """Put zeros in the place of strings, which begin with their first quote."""
    if b"\\" in body:  # A backslash escapes what follows it, be it another one or a quote.
        body = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    inside = np.False_
    for block in _blocks(body):
        quotes = block == _QUOTE
        quotes[0] ^= inside
        within = np.logical_xor.accumulate(quotes)
        yield block * ~within
        inside = within[-1]
