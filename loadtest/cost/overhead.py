"""What the service adds to the engine: one client, one connection, one request at a time.

Every response says how long inference took (``timings_ms.infer``), so the rest of a request's time at the client is
HTTP, decoding, queues and encoding. Beside it the same requests go through the same graph in a tight loop in this
process, on the service's CPU: that is the engine without a service around it. Sizes and the loop take turns in short
blocks, because a shared machine drifts; a figure is the median over blocks, and a ratio that of neighbours in time.
``python -m loadtest.cost.overhead --bundles bundles`` starts a service of its own and measures it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from loadtest.cost.service_cost import Split, on_cpus
from loadtest.peers.pipeline import Pipeline
from loadtest.peers.schemas import Request
from loadtest.requests.payloads import PayloadOptions, from_bundle, from_lists, make_payloads
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.latency import Latency
from loadtest.rig.paired_ratio import PairedRatio
from loadtest.rig.server import HOST, UNHURRIED, ServerError, running_server
from loadtest.run import only_bundle
from models.contract.manifest import Manifest

PATH: Final = "/v1/rerank"
TARGETS: Final[Mapping[tuple[int, str], float]] = {
    (100, "overhead_p50"): 1.0,
    (100, "infer_ratio"): 1.3,
    (1000, "total_p50"): 6.0,
}
"""Candidates and figure (milliseconds, or a ratio) to the limit that it must stay under."""


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
class Block:
    """Times in milliseconds of consecutive requests: at the client, and inference as the response states it."""

    total: list[float]
    infer: list[float]
    tight: list[float] = field(default_factory=list)
    """The engine alone, in a loop next to this block."""


def measure(client: KeepAliveClient, messages: Sequence[bytes], requests: int) -> Block:
    """Send `messages` in turn. Raises `ValueError` for an answer that is not 200 or that no model made."""
    block = Block([], [])
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


def summarise(candidates: int, body_kb: float, blocks: Sequence[Block]) -> Overhead:
    """Medians over blocks; the overhead is taken request by request, before any percentile."""
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


def _beside_the_loop(infer: Sequence[Latency], blocks: Sequence[Block]) -> dict[str, float]:
    if not all(b.tight for b in blocks):
        return {}
    tight = [Latency.of(b.tight).p50 for b in blocks]
    ratio = PairedRatio.of(tight, [latency.p50 for latency in infer])
    figures = {"": ratio.median, "_low": ratio.low, "_high": ratio.high}
    ratios = {f"infer_ratio{name}": round(value, 3) for name, value in figures.items()}
    return {"tight_p50": round(statistics.median(tight), 3), **ratios}


def markdown(rows: Sequence[Overhead]) -> str:
    """A table with one row per size."""
    lines = [
        "| candidates | body KB | total p50 ms | total p99 ms | infer p50 ms | overhead p50 ms | overhead p99 ms "
        "| tight loop p50 ms | infer / tight loop (95%) |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        figures = (r.total_p50, r.total_p99, r.infer_p50, r.overhead_p50, r.overhead_p99)
        tight = "–" if r.tight_p50 is None else f"{r.tight_p50:.2f}"
        ratio = "–" if r.infer_ratio is None else f"{r.infer_ratio:.2f} ({r.infer_ratio_low} to {r.infer_ratio_high})"
        cells = [str(r.candidates), str(r.body_kb), *(f"{x:.2f}" for x in figures), tight, ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def missed(rows: Sequence[Overhead]) -> list[str]:
    """The targets that were not met, in words."""
    sizes = {row.candidates: row for row in rows}
    found = []
    for (n, figure), limit in TARGETS.items():
        value = getattr(sizes[n], figure) if n in sizes else None
        if value is not None and value >= limit:
            unit = " ms" if figure.endswith("p50") else ""
            found.append(f"{n} candidates: {figure} is {value:.2f}{unit}, not under {limit:g}{unit}")
    return found


def run(options: argparse.Namespace) -> list[Overhead]:
    """Serve, measure every size in interleaved blocks, stop. Raises `ValueError` or `ServerError`."""
    bundle = options.bundle or only_bundle(options.bundles)
    sources = {n: _payload_bodies(options, bundle, n) for n in options.candidates}
    blocks: dict[int, list[Block]] = {n: [] for n in sources}
    available = os.sched_getaffinity(0)
    split = Split.of(available, options.cpus or max(1, len(available) - 1))
    with (
        running_server(
            options.bundles, options=(*UNHURRIED, *shlex.split(options.serve_options)), cpus=split.server
        ) as server,
        on_cpus(split.client),
        KeepAliveClient(HOST, server.port) as client,
    ):
        messages = {n: [client.message(PATH, body) for body in bodies] for n, bodies in sources.items()}
        loops = {n: _tight_loop(bundle, bodies) for n, bodies in sources.items()}
        for n in sources:
            measure(client, messages[n], options.requests)
        for _ in range(options.blocks):
            for n in sources:
                block = measure(client, messages[n], options.requests)
                with on_cpus(split.server):
                    blocks[n].append(replace(block, tight=loops[n](options.requests)))
    return [summarise(n, statistics.mean(map(len, bodies)) / 1000, blocks[n]) for n, bodies in sources.items()]


def _tight_loop(bundle: Path, bodies: Sequence[bytes]) -> Callable[[int], list[float]]:
    """A function that runs the bundle's graph on the encoded requests in turn, so often, and gives each time in ms."""
    if Manifest.read(bundle).any_slots:
        return lambda _: []
    pipeline = Pipeline(bundle)
    decode = msgspec.json.Decoder(Request).decode
    prepared = [[pipeline.prepare(decode(body))] for body in bodies]

    def loop(runs: int) -> list[float]:
        pipeline.infer(prepared[0])  # caches were the service's until now
        return [pipeline.infer(prepared[i % len(prepared)]).seconds * 1000 for i in range(runs)]

    return loop


def _payload_bodies(options: argparse.Namespace, bundle: Path, candidates: int) -> list[bytes]:
    source = from_lists(options.lists, seed=options.seed) if options.lists else from_bundle(bundle, seed=options.seed)
    settings = PayloadOptions(count=16, sizes={candidates: 1.0}, seed=options.seed, extra={"timeout_ms": 1000})
    return [payload.body for payload in make_payloads(source, settings)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and whether the targets are met; the exit status is 0, 1 if one is missed, 2 without a run."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        rows = run(options)
    except (ValueError, OSError, ServerError) as error:
        parser.exit(2, f"loadtest.cost.overhead: {error}\n")
    print(markdown(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    failures = missed(rows)
    print("\nverdict: " + ("; ".join(failures) if failures else "all targets met"))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.cost.overhead", description=__doc__)
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="folder of bundles to serve (bundles)")
    parser.add_argument("--bundle", type=Path, help="whose requests to make, if there are several bundles")
    parser.add_argument("--lists", type=Path, help="list file (Parquet); its real candidates are sent instead")
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 1000], help="sizes to measure (100 1000)")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of each size (15)")
    parser.add_argument("--requests", type=int, default=100, help="requests of a block (100)")
    parser.add_argument("--cpus", type=int, help="CPUs of the service (all but one, which the client has)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the requests (0)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--serve-options", default="", help="more options of `listwright serve`, as one argument")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
