"""Hold the figures that the plan is made of, each with its place.

A test looks every quote up at its place, so a document that measures again breaks the plan rather than its truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["measured", "cited", "assumed"]
"""Assumed: a guess, or the demand's own choice."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, its unit, and where it is from.

    `place` is a document with its anchor, a file, or a URL; `quote` stands there. An assumption has no quote, and its
    place is the reason.
    """

    name: str
    value: float
    unit: str
    kind: Kind
    place: str
    quote: str = ""


def _gpu(batch: int, milliseconds: float, row: str) -> Figure:
    return Figure(f"one run of {batch} on an H200", milliseconds, "ms", "measured", "docs/performance.md#on-a-gpu", row)


def _handed(name: str, microseconds: float, row: str) -> Figure:
    return Figure(name, microseconds, "µs", "measured", "docs/scale.md#hand-over", row)


GPU_RUNS: Final[Mapping[int, Figure]] = {
    1: _gpu(1, 2.47, "| 1 | 2.47 / 2.61 |"),
    2: _gpu(2, 2.50, "| 2 | 2.50 / 2.52 |"),
    8: _gpu(8, 2.72, "| 8 | 2.72 / 2.84 |"),
    16: _gpu(16, 2.72, "| 16 | 2.72 / 2.86 |"),
    32: _gpu(32, 2.82, "| 32 | 2.82 / 2.86 |"),
    64: _gpu(64, 3.02, "| 64 | 3.02 / 3.09 |"),
}
"""Float32 with CUDA graphs. Batch 4 took 5.48 ms for a reason that was not found, and is left out."""

GPU_SERVICE: Final = Figure(
    "one process before an H200, 16 in flight", 1459, "requests/s", "measured", "docs/performance.md#on-a-gpu", "1,459"
)
"""Its event loop is the limit, so its inverse is what a request takes of one at most."""
CPU_SERVICE: Final = Figure(
    "one process on that machine's CPU, 16 in flight",
    1380,
    "requests/s",
    "measured",
    "docs/performance.md#on-a-gpu",
    "11.5 / 16.2, 1,380",
)
"""With as many in flight as before the GPU. With 8 it was 1,326."""
CPU_THREADS: Final = Figure(
    "cores that such a process can use", 2, "cores", "assumed", "its event loop and its inference thread"
)
CPU_GOODPUT: Final = Figure(
    "goodput of one worker on a shared core at half speed, least of 15",
    115,
    "requests/s",
    "measured",
    "docs/performance.md#beside-other-servers",
    "| listwright | 123 | 115 | 138 |",
)
UTILISATION: Final = Figure(
    "share of a host's rate that is planned with", 0.7, "", "cited", "docs/kubernetes.md#size", "0.7 × goodput"
)
"""There of goodput; here of goodput for shared cores only, and of rates in a closed loop for the others."""
LINK_WORKER: Final = _handed(
    "hand-over of a row of 10 KB to an engine process, CPU of the worker",
    117,
    "| CPU of the worker, to the engine process | 117 µs |",
)
LINK_ENGINE: Final = _handed("the same, CPU of the engine process", 73, "| CPU of the engine process | 73 µs |")
THREAD_WORKER: Final = _handed(
    "the same to a thread of the worker, CPU of the worker",
    110,
    "| CPU of the worker, to a thread of its own | 110 µs |",
)
MADE_UP_RUN: Final = _handed("of that, the made-up engine's own run", 18, "| CPU of the made-up engine's run | 18 µs |")
HOST_SPEED: Final = Figure(
    "time of Python on a GPU host for a second where the hand-over was measured",
    0.5,
    "",
    "assumed",
    "the service's own time for a request, one at a time, was 1.35 ms there and 2.69 ms here",
)
ENGINE_HAND_OVER_US: Final = (LINK_ENGINE.value - MADE_UP_RUN.value) * HOST_SPEED.value
"""All Python of an engine process for a list, on a GPU host; stacking is part of it, as runs were timed without."""
WORKER_HAND_OVER_US: Final = (LINK_WORKER.value - (THREAD_WORKER.value - MADE_UP_RUN.value)) * HOST_SPEED.value
"""What a list takes of a worker beyond a thread of its own, which the rate of one process holds already."""
BEFORE_ENGINE: Final = Figure(
    "share of a request's Python before the engine",
    0.68,
    "",
    "assumed",
    "stages divided as in loadtest/resilience/overload_model/costs.py",
)
CPU_SPREAD: Final = Figure(
    "standard deviation of the logarithm of a request's CPU time",
    0.25,
    "",
    "assumed",
    "as in loadtest/resilience/overload_model/costs.py",
)
BUDGET: Final = Figure("budget of a request", 19, "ms", "cited", "README.md", "**19 ms at p99**")

REQUEST_BYTES: Final = Figure(
    "body of 100 candidates as objects",
    16_300,
    "B",
    "measured",
    "docs/performance.md#columns-and-a-catalogue",
    "| objects | 100 | 16.3 |",
)
SHORT_REQUEST_BYTES: Final = Figure(
    "the same as columns with a catalogue",
    2_900,
    "B",
    "measured",
    "docs/performance.md#columns-and-a-catalogue",
    "| catalogue | 100 | 2.9 |",
)
HEAD_BYTES: Final = Figure(
    "head of a request", 125, "B", "measured", "docs/scale.md#measured-for-this-page", "| head of a request | 125 B |"
)
ANSWER_BYTES: Final = Figure(
    "answer of 10 items with its head",
    1_199,
    "B",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| answer of 10 items with its head | 1,199 B |",
)
BALANCER: Final = Figure(
    "HAProxy on 64 Arm cores and 100 Gbit/s, no TLS, small objects",
    2.04e6,
    "requests/s",
    "cited",
    "https://www.haproxy.com/blog/haproxy-forwards-over-2-million-http-requests-per-second-on-a-single-aws-arm-instance/",
    "2.04-million requests per second",
)
BALANCER_GBIT: Final = Figure(
    "network of that machine",
    100,
    "Gbit/s",
    "cited",
    "https://cdn.haproxy.com/user-spotlight-series/how-we-achieved-2-million-rps-haproxy-on-arm-processors",
    "100-gigabit network bandwidth",
)

CATALOGUE_BYTES: Final = Figure(
    "arrays of an item with an embedding of 64",
    303 * 2**20 / 1e6,
    "B",
    "measured",
    "docs/performance.md#a-million-items",
    "arrays are 303 MiB",
)
CATALOGUE_BUILD: Final = Figure(
    "items built by one core, least",
    139_000,
    "items/s",
    "measured",
    "docs/performance.md#a-million-items",
    "139,000 to 147,000 items/s",
)
CATALOGUE_BUILD_BYTES: Final = Figure(
    "memory of a build, for an item", 700, "B", "measured", "docs/catalogue.md#build-update-compact", "0.7 GB of"
)
CHECKSUM: Final = Figure(
    "SHA-256 of one core", 1_450, "MB/s", "measured", "docs/scale.md#measured-for-this-page", "| SHA-256 | 1,450 MB/s |"
)
PROCESS_BYTES: Final = Figure(
    "an idle process with the demo bundle", 138 * 2**20, "B", "measured", "docs/operations.md#run", "138 MiB idle"
)

CANDIDATES: Final = Figure(
    "candidates of a request", 100, "", "cited", "docs/performance.md", "requests have 100 candidates"
)
QUEUED: Final = Figure(
    "candidates of 100 that are encoded, Q·L",
    30,
    "",
    "measured",
    "docs/performance.md#columns-and-a-catalogue",
    "encoding 30 of them",
)
LIVE_TTL: Final = Figure("time that a live value is kept", 5, "s", "cited", "docs/catalogue.md#live-values", "(5)")
LIVE_KEPT: Final = Figure(
    "live values that a process keeps", 200_000, "", "cited", "docs/catalogue.md#live-values", "at most 200,000 of them"
)
REDIS_VALUE: Final = Figure(
    "CPU of Redis for a value in an HMGET of 100",
    1.2,
    "µs",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| a value in an HMGET of 100, CPU of Redis | 1.2 µs |",
)
REDIS_BYTES: Final = Figure(
    "memory of Redis for a value",
    81,
    "B",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| a value in a hash of a million, memory | 81 B |",
)

SAMPLES: Final = Figure(
    "samples of a scrape, one bundle",
    661,
    "",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| samples of a scrape, one bundle, two workers | 661 |",
)
SCRAPE_EVERY: Final = Figure(
    "time between scrapes", 5, "s", "cited", "deploy/prometheus/prometheus.yml", "scrape_interval: 5s"
)
SAMPLE_BYTES: Final = Figure(
    "a sample in Prometheus, most",
    2,
    "B",
    "cited",
    "https://prometheus.io/docs/prometheus/latest/storage/",
    "1-2 bytes per sample",
)
LOG_SHARE: Final = Figure(
    "requests that have a log line", 0.01, "", "cited", "docs/operations.md#requests", "by default 1%"
)
LOG_BYTES: Final = Figure("a log line", 500, "B", "measured", "docs/operations.md#requests", "(2.5 KB/s)")
TRACE_SHARE: Final = Figure("requests that are traced", 0.01, "", "cited", "docs/performance.md#traces", "share of 1%")
TRACE_SPANS: Final = Figure("spans of a trace, most", 8, "", "measured", "docs/performance.md#traces", "7 or 8 spans")
TRACE_CPU: Final = Figure(
    "CPU of a traced request in the exporter's thread", 840, "µs", "measured", "docs/performance.md#traces", "840 µs"
)

LIST_BYTES: Final = Figure(
    "a list of 20 candidates on disk",
    570,
    "B",
    "measured",
    "docs/results.md#large-list-files",
    "8 part files of 570 MB",
)
LONG_LIST_BYTES: Final = Figure(
    "a list of 100 candidates on disk",
    2_245,
    "B",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| a list of 100 candidates on disk | 2,245 B |",
)
ENCODE: Final = Figure(
    "reading, fitting and encoding a list in one process",
    44,
    "µs",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| reading, fitting and encoding a list of 20 | 44.1 µs |",
)
ARRAY_BYTES: Final = Figure(
    "arrays of a list of 10 shown items",
    591,
    "B",
    "measured",
    "docs/scale.md#measured-for-this-page",
    "| arrays of a list of 10 shown items | 591 B |",
)
TRAIN: Final = Figure(
    "training on a list, one epoch, all steps", 444, "µs", "measured", "docs/results.md#large-list-files", "444 s"
)
MINE: Final = Figure(
    "requests mined by one process, beam of 8 and local search of the best list",
    10_000 / 281.8,
    "requests/s",
    "measured",
    "docs/results/2026-11-23-degre-movielens.md#what-each-step-took",
    "| mined/b8-local-search/mix-0 | 281.8 | slates 10000 |",
)
MINE_BEAM: Final = Figure(
    "the same without local search",
    10_000 / 62.4,
    "requests/s",
    "measured",
    "docs/results/2026-11-23-degre-movielens.md#what-each-step-took",
    "| mined/b8/mix-0 | 62.4 | slates 10000 |",
)


def all_figures() -> list[Figure]:
    """Return every figure, as they stand in this file."""
    found: list[Figure] = []
    for value in globals().values():
        if isinstance(value, Figure):
            found.append(value)
        elif value is GPU_RUNS:
            found += GPU_RUNS.values()
    return found
