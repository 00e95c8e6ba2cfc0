"""Bodies of up to 2 MiB that are made to take long: what an attacker would send, and the largest of honest clients."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

LARGEST = 2 * 1024 * 1024
_OPEN = b'{"candidates":[{"id":"a","scores":{"ctr":0.1,"cvr":0.1}'
_CLOSE = b"}]}"
_SCORES = b'{"candidates":[{"id":"a","scores":{'
_EMBEDDING = _OPEN + b',"embedding":['

Unit = bytes | Callable[[int], bytes]


def filled(head: bytes, unit: Unit, tail: bytes, size: int = LARGEST) -> bytes:
    """`head`, as many units as fit with commas between them, and `tail`."""
    parts: list[bytes] = []
    left = size - len(head) - len(tail)
    while left > 0:
        part = unit if isinstance(unit, bytes) else unit(len(parts))
        left -= len(part) + 1
        parts.append(part)
    return head + b",".join(parts[:-1]) + tail


def _numbers(text: bytes, size: int = LARGEST) -> bytes:
    return filled(_EMBEDDING, text, b"]" + _CLOSE, size)


def _fields(value: bytes, last: bytes, size: int = LARGEST) -> bytes:
    return filled(_SCORES, lambda i: b'"%x":%s' % (i, value), last + b"}" + _CLOSE, size)


def _names(text: bytes, last: bytes, size: int) -> bytes:
    """Fields with this text in their names."""
    return filled(_SCORES, lambda i: b'"%x%b":1' % (i, text), last + b"}" + _CLOSE, size)


def hostile() -> dict[str, bytes]:
    """Bodies that took from 0.05 to 3 seconds, or would where a check were forgotten."""
    small = 256 * 1024
    return {
        "fields": _fields(b"1", b""),
        "fields, then NaN": _fields(b"1", b',"z":NaN', 900_000),
        "fields, then text": _fields(b"1", b',"z":"x"', 900_000),
        "colons in names, then NaN": _names(b":::::::::", b',"z":NaN', 1_900_000),
        "quotes in names, then text": _names(rb":\"\"::", b',"z":"x"', 1_700_000),
        "colons and backslashes": b'{"partition":"' + rb":\\" * (LARGEST // 3 - 100) + b'",' + _OPEN[1:] + _CLOSE,
        "fields to be read again": _fields(b"1", b',"z":"x"', small),
        "long integers to be read again": _fields(b"9" * 4290, b',"z":"x"', small),
        "fields of one name": filled(b'{"user":{', b'"":0', b"}," + _OPEN[1:] + _CLOSE),
        "numbers": _numbers(b"1"),
        "numbers, then NaN, to be read again": filled(_EMBEDDING, b"1", b",NaN]" + _CLOSE, small),
        "NaN": _numbers(b"NaN"),
        "subnormal numbers": _numbers(b"5e-324"),
        "subnormal numbers in 60 KB": _numbers(b"5e-324", 60_000),
        "largest numbers": _numbers(b"1.7976931348623157E+308"),
        "numbers between two doubles": _numbers(b"8.6389702127764396166"),
        "small ones between two doubles": _numbers(b"95119193995993252778e-79"),
        "zeros, then digits": _numbers(b"0." + b"0" * 249 + b"40323181331154897669"),
        "one long integer": b'{"user":{"visits":' + b"9" * (LARGEST - 200) + b"}," + _OPEN[1:] + _CLOSE,
        "candidates": filled(b'{"candidates":[', b"{}", b"]}"),
        "whole candidates": filled(b'{"candidates":[', lambda i: b'{"id":"%x","scores":{}}' % i, b"]}"),
        "unknown name of 2 MiB": _OPEN + b',"' + b"a" * (LARGEST - 100) + b'":1' + _CLOSE,
        "text of 2 MiB": b'{"partition":"' + b"a" * (LARGEST - 100) + b'",' + _OPEN[1:] + _CLOSE,
        "escapes": b'{"model":"' + b"\\n" * (LARGEST // 2 - 100) + b'",' + _OPEN[1:] + _CLOSE,
        "spaces": b" " * LARGEST,
        "quotes": b'"' * LARGEST,
        "commas": b"," * LARGEST,
        "colons": b":" * LARGEST,
        "backslashes": b'"' + b"\\" * (LARGEST - 2) + b'"',
        "objects in objects": b'{"a":' * (LARGEST // 5),
        "arrays in arrays": b"[" * LARGEST,
        "score names": _fields(b"1", b"", 900_000),
        **_hostile_columns(),
    }


def _hostile_columns() -> dict[str, bytes]:
    scores = b'{"candidates":{"id":["a"],"scores":{'
    long = b'{"candidates":{"id":["a"],"scores":{"ctr":[0.1]},"embedding":"%b"}}'
    return {
        "columns": filled(scores, lambda i: b'"%x":[1]' % i, b"}}}"),
        "columns, then text": filled(scores, lambda i: b'"%x":[1]' % i, b',"z":["x"]}}}', 1_000_000),
        "columns in base64": filled(scores, lambda i: b'"%x":"AAAAAA=="' % i, b"}}}"),
        "base64 of 2 MiB": long % (b"A" * (LARGEST // 4 * 4 - 200)),
        "base64 that looks like numbers": long % (b"5e99" * (LARGEST // 4 - 50)),
        "base64 of NaN": long % (b"AADAfwAAwH8AAMB/" * (LARGEST // 16 - 50)),
        "no base64": long % (b"A" * (LARGEST // 4 * 4 - 200) + b"---"),
        "ids": filled(b'{"candidates":{"id":[', lambda i: b'"%x"' % i, b'],"scores":{}}}'),
        "slow numbers in columns": filled(b'{"candidates":{"id":["a"],"scores":{"ctr":[', b"5e-324", b"]}}}"),
        "slow numbers behind a long text": long % (b"A" * 9000 + b'","price":[' + b"5e-324," * 200_000 + b'1],"x":"'),
        "embeddings in a column": filled(b'{"candidates":{"id":["a"],"scores":{},"embedding":[', b"[1]", b"]}}"),
    }


def large_request(candidates: int, features: int, width: int = 0) -> dict[str, Any]:
    """A request as an honest client sends it, numbers as a double's shortest text."""
    rng = random.Random(candidates)

    def one() -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": f"{rng.getrandbits(128):032x}",
            "scores": {"ctr": rng.random(), "cvr": rng.random() * 1e-5, "relevance": rng.random() * 1e-30},
            "price": round(rng.random() * 100, 2),
            "features": {
                f"f_{k}": rng.choice([rng.randrange(9), "a:b,c", f"{rng.getrandbits(32):x}"]) for k in range(features)
            },
        }
        return made | ({"embedding": [rng.gauss(0, 0.1) for _ in range(width)]} if width else {})

    return {"candidates": [one() for _ in range(candidates)]}


def compact(sent: object) -> bytes:
    return json.dumps(sent, separators=(",", ":")).encode()
