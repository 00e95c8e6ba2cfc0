"""List the wrong and rare parts of which requests are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CHUNK_SIZES: Final = (b"0", b"-1", b"g", b"ffffffffffffffffff", b"5;ext=1", b" 5", b"5 ", b"0x5", b"", b"00000000005")
LENGTHS: Final = (
    b"-1",
    b"+5",
    b"0x10",
    b"5, 5",
    b"5, 6",
    b"1e3",
    b"",
    b" ",
    b"99999999999999999999",
    b"4",
    b"2097153",
)
CODINGS: Final = (b"chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"Chunked", b"gzip", b"\x0bchunked")
METHODS: Final = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"DELETE", b"PRI")
ODD_METHODS: Final = (b"FOO", b"get", b"", b"G\x00T", b"A" * 9000, b"\xff\xfe", b"QUERY")
VERSIONS: Final = (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/11",
    b"",
    b"HTTP/1.1 ",
    b"ICY",
    b"http/1.1",
)
TARGETS: Final = (
    *(
        b"*",
        b"",
        b"/",
        b"//",
        b"/%00",
        b"/\x00",
        b"/..%2f..%2fetc",
        b"http://127.0.0.1/v1/rerank",
        b"/v1/rerank/",
        b"a b",
    ),
    *(
        b"/v1/rerank?x=1",
        b"/" + b"a" * 70_000,
        b"/\xff\xfe",
        b"127.0.0.1:80",
        b"/v1/%72erank",
        b"/v1/rerank#f",
        b"/v2/health",
    ),
)
FIELDS: Final[Sequence[tuple[bytes, bytes]]] = (
    *((b"Upgrade", b"h2c"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade, HTTP2-Settings")),
    *((b"Connection", b"close"), (b"Connection", b"keep-alive"), (b"Expect", b"100-continue"), (b"Expect", b"x")),
    *(
        (b"Host", b""),
        (b"Host", b"evil.example"),
        (b"Host", b"a b"),
        (b"X", b"a\x00b"),
        (b"X", b"a\rb"),
        (b"X", b"\x7f"),
    ),
    *(
        (b"X Y", b"1"),
        (b"", b"1"),
        (b"X", b"1\r\n folded"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Encoding", b"zstd"),
        (b"Accept", b"*/*"),
    ),
    *(
        (b"Content-Type", b"text/plain"),
        (b"Content-Type", b"application/json; charset=utf-16"),
        (b"x-request-id", b"\xe9"),
    ),
    *(
        (b"x-request-timeout-ms", b"-1"),
        (b"grpc-timeout", b"9" * 99),
        (b"traceparent", b"00-x"),
        (b"Authorization", b"Bearer"),
    ),
    *((b"Trailer", b"X"), (b"TE", b"trailers"), (b"X", b"v" * 70_000), (b"Range", b"bytes=0-1"), (b"Origin", b"null")),
)
_HALF: Final = b'{"a":"\\ud800","d":'
_DIGITS: Final = b"9" * 4301  # One more than Python reads.
_NESTED: Final = tuple(
    opening * depth + closing * depth
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"1}"))
    for depth in (900, 1000, 100_000)
)
HARD_BODIES: Final = (
    *(_HALF + nested + b"}" for nested in _NESTED),
    *(_HALF + nested + b',"n":' + _DIGITS + b"}" for nested in _NESTED),
    *(b'{"a":NaN,"n":' + _DIGITS + b',"d":' + nested + b"}" for nested in _NESTED),
    *(b'{"candidates":{"id":["a"],"scores":{"ctr":["x"]},"embedding":[' + nested + b"]}}" for nested in _NESTED),
    *(b'{"candidates":[{"id":"a","scores":{},"embedding":' + nested + b"}]}" for nested in _NESTED),
)
"""Bodies that a reader which recurses, or which reads any number, may fail at."""
