"""Measure the time that the service adds to the engine, one request at a time.

Every response says how long inference took (``timings_ms.infer``); the rest of a request's time at the client is HTTP,
decoding, queues and encoding. Beside it the same requests go through the same graph in a tight loop in this process, on
the service's CPU: the engine without a service around it. Sizes and the loop take turns in short blocks, because a
shared machine drifts; a figure is the median over blocks, and a ratio that of neighbours in time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import msgspec

from loadtest.peers.pipeline import Pipeline
from loadtest.peers.schemas import PeerRequest
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.server import UNHURRIED, on_cpus
from loadtest.rig.statistics import Latency, PairedRatio
from loadtest.rig.subject import Measured, Subject, command_parser, markdown, run_command, subject_from
from models.contract.manifest import Manifest

TARGETS: Final[Mapping[tuple[int, str], float]] = {
    (100, "overhead_p50"): 1.0,
    (100, "infer_ratio"): 1.3,
    (1000, "total_p50"): 6.0,
}
"""Candidates and figure (milliseconds, or a ratio) to the limit that it must stay under."""

HEAD: Final = (
    *("candidates", "body KB", "total p50 ms", "total p99 ms", "infer p50 ms", "overhead p50 ms", "overhead p99 ms"),
    *("tight loop p50 ms", "infer / tight loop (95%)"),
)


@dataclass(frozen=True, slots=True)
class Overhead:
    """Milliseconds for one size of request: medians over blocks of each block's percentile.

    `tight_p50` is the engine in a tight loop, `infer_ratio` the paired ratio of inference in the service to it, with
    its 95% interval. All four are None for a graph that takes any number of slots, which the loop cannot run.
    """

    candidates: int
    requests: int
    body_kb: float
    total_p50: float
    total_p99: float
    infer_p50: float
    infer_p99: float
    overhead_p50: float
    overhead_p99: float
    tight_p50: float | None = None
    infer_ratio: float | None = None
    infer_ratio_low: float | None = None
    infer_ratio_high: float | None = None


@dataclass(frozen=True, slots=True)
class TimedBlock:
    """Milliseconds of consecutive requests: at the client, and inference as stated by the response.

    `tight` is the engine alone, in a loop next to this block.
    """

    total: list[float]
    infer: list[float]
    tight: list[float] = field(default_factory=list)


def measure(client: KeepAliveClient, messages: Sequence[bytes], requests: int) -> TimedBlock:
    """Send `messages` in turn. Raises `ValueError` for an answer without the model."""
    block = TimedBlock([], [])
    for i in range(requests):
        message = messages[i % len(messages)]
        start = time.perf_counter()
        status, body = client.send(message)
        block.total.append((time.perf_counter() - start) * 1000)
        if status != 200:
            raise ValueError(f"the service answered {status}: {body[:300].decode('utf-8', 'replace')}")
        answer = json.loads(body)
        if answer["degraded"] is not None:
            raise ValueError(f"the service answered without its model: {answer['degraded']}")
        block.infer.append(answer["timings_ms"]["infer"])
    return block


def summarise(candidates: int, body_kb: float, blocks: Sequence[TimedBlock]) -> Overhead:
    """Take medians over blocks; the overhead is taken request by request, before any percentile."""
    total = [Latency.of(b.total) for b in blocks]
    infer = [Latency.of(b.infer) for b in blocks]
    rest = [Latency.of([t - i for t, i in zip(b.total, b.infer, strict=True)]) for b in blocks]
    medians = {
        f"{name}_{p}": round(statistics.median(getattr(latency, p) for latency in latencies), 3)
        for name, latencies in (("total", total), ("infer", infer), ("overhead", rest))
        for p in ("p50", "p99")
    }
    requests = sum(latency.requests for latency in total)
    return Overhead(candidates, requests, round(body_kb, 1), **medians, **_beside_the_loop(infer, blocks))


def _beside_the_loop(infer: Sequence[Latency], blocks: Sequence[TimedBlock]) -> dict[str, float]:
    if not all(b.tight for b in blocks):
        return {}
    tight = [Latency.of(b.tight).p50 for b in blocks]
    ratio = PairedRatio.of(tight, [latency.p50 for latency in infer])
    figures = {"tight_p50": statistics.median(tight), "infer_ratio": ratio.median}
    figures |= {"infer_ratio_low": ratio.low, "infer_ratio_high": ratio.high}
    return {name: round(value, 3) for name, value in figures.items()}


def table(rows: Sequence[Overhead]) -> str:
    """Return a table with one row per size."""
    cells = []
    for r in rows:
        figures = (r.total_p50, r.total_p99, r.infer_p50, r.overhead_p50, r.overhead_p99)
        tight = "–" if r.tight_p50 is None else f"{r.tight_p50:.2f}"
        ratio = "–" if r.infer_ratio is None else f"{r.infer_ratio:.2f} ({r.infer_ratio_low} to {r.infer_ratio_high})"
        cells.append((r.candidates, r.body_kb, *(f"{x:.2f}" for x in figures), tight, ratio))
    return markdown(HEAD, cells)


def missed(rows: Sequence[Overhead]) -> list[str]:
    """Name the targets that were not met."""
    sizes = {row.candidates: row for row in rows}
    found = []
    for (n, figure), limit in TARGETS.items():
        value = getattr(sizes[n], figure) if n in sizes else None
        if value is not None and value >= limit:
            unit = " ms" if figure.endswith("p50") else ""
            found.append(f"{n} candidates: {figure} is {value:.2f}{unit}, not under {limit:g}{unit}")
    return found


def run(options: argparse.Namespace) -> Measured:
    """Serve, measure every size in interleaved blocks, stop. Raises `ValueError` or `ServerError`."""
    subjects = {n: subject_from(options, timeout_ms=1000, count=16, candidates=n) for n in options.candidates}
    subject = next(iter(subjects.values()))
    blocks: dict[int, list[TimedBlock]] = {n: [] for n in subjects}
    with (
        subject.running(defaults=UNHURRIED) as (_, endpoint),
        on_cpus(subject.split.client),
        KeepAliveClient(endpoint.port) as client,
    ):
        messages = {n: of.messages(endpoint) for n, of in subjects.items()}
        loops = {n: _tight_loop(of) for n, of in subjects.items()}
        for n in subjects:
            measure(client, messages[n], options.requests)
        for _ in range(options.blocks):
            for n in subjects:
                block = measure(client, messages[n], options.requests)
                with on_cpus(subject.split.server):
                    blocks[n].append(replace(block, tight=loops[n](options.requests)))
    rows = [summarise(n, statistics.mean(map(len, of.bodies)) / 1000, blocks[n]) for n, of in subjects.items()]
    faults = missed(rows)
    text = f"{table(rows)}\n\nverdict: {'; '.join(faults) or 'all targets met'}"
    return text, {"rows": [asdict(row) for row in rows], "missed": faults}


def _tight_loop(subject: Subject) -> Callable[[int], list[float]]:
    """Return a function that runs the graph so often and gives each time in ms."""
    if Manifest.read(subject.bundle).any_slots:
        return lambda _: []
    pipeline = Pipeline(subject.bundle)
    decode = msgspec.json.Decoder(PeerRequest).decode
    prepared = [[pipeline.prepare(decode(body))] for body in subject.bodies]

    def loop(runs: int) -> list[float]:
        pipeline.infer(prepared[0])  # Caches were the service's until now.
        return [pipeline.infer(prepared[i % len(prepared)]).seconds * 1000 for i in range(runs)]

    return loop


def main(argv: Sequence[str] | None = None) -> int:
    """Print table and verdict; exit with 1 for a missed target, 2 without a run."""
    parser = command_parser("loadtest.cost.overhead", __doc__)
    add = parser.add_argument
    add("--candidates", type=int, nargs="+", default=[100, 1000], help="sizes to measure (100 1000)")
    add("--blocks", type=int, default=15, help="blocks of each size (15)")
    add("--requests", type=int, default=100, help="requests of a block (100)")
    return run_command(parser, argv, run)


if __name__ == "__main__":
    raise SystemExit(main())
