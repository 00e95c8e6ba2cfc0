"""Measure what compressed requests save on the network, and what decompressing them costs.

Requests are compressed as quick clients would: gzip at level 1, zstd at level 3 with the size in its frame. Times are
medians over requests, on one CPU.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import zstandard

from loadtest.rig.server import on_cpus
from loadtest.rig.subject import Measured, command_parser, markdown, run_command, subject_from

GZIP: Final = "gzip, level 1"
ZSTD: Final = "zstd, level 3"
_GZIP_BITS: Final = 31

CODINGS: Final[Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]] = {
    GZIP: (lambda body: gzip.compress(body, 1), lambda body: zlib.decompress(body, _GZIP_BITS)),
    ZSTD: (zstandard.ZstdCompressor(3).compress, zstandard.ZstdDecompressor().decompress),
}
"""Coding to how bodies are compressed and decompressed."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """Hold mean sizes in KB, and the median time of decompression in ms."""

    candidates: int
    width: int
    coding: str
    body_kb: float
    compressed_kb: float
    decompress_ms: float


def measure(bodies: Sequence[bytes], coding: str) -> tuple[float, float]:
    """Return mean compressed size in KB and median time of decompression in ms."""
    compress, decompress = CODINGS[coding]
    packed = [compress(body) for body in bodies]
    times = []
    for one in packed:
        start = time.perf_counter()
        decompress(one)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.mean(map(len, packed)) / 1000, statistics.median(times)


def run(options: argparse.Namespace) -> Measured:
    """Measure every size with every coding."""
    rows = []
    for width in options.widths:
        for n in options.candidates:
            subject = subject_from(options, count=options.requests, candidates=n, embedding_width=width)
            body_kb = statistics.mean(map(len, subject.bodies)) / 1000
            with on_cpus(subject.split.server):
                for coding in CODINGS:
                    size, ms = measure(subject.bodies, coding)
                    rows.append(Compressed(n, width, coding, round(body_kb, 1), round(size, 1), round(ms, 3)))
    return table(rows), {"rows": [asdict(row) for row in rows]}


def table(rows: Sequence[Compressed]) -> str:
    """Return a table with one row per size and coding."""
    head = ("candidates", "embeddings", "body KB", "coding", "compressed KB", "decompression ms")
    return markdown(
        head, [(r.candidates, r.width, r.body_kb, r.coding, r.compressed_kb, r.decompress_ms) for r in rows]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit with 2 without one."""
    parser = command_parser("loadtest.cost.compression", __doc__, without=("--embedding-width",))
    add = parser.add_argument
    add("--candidates", type=int, nargs="+", default=[100, 1000], help="sizes to measure (100 1000)")
    add("--widths", type=int, nargs="+", default=[0, 64], help="widths of embeddings (0 64)")
    add("--requests", type=int, default=60, help="requests of each size (60)")
    return run_command(parser, argv, run)


if __name__ == "__main__":
    raise SystemExit(main())
