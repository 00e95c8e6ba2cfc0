"""Measure the time that the service adds to the engine, one request at a time.

Every response says how long inference took (``timings_ms.infer``); the rest of a request's time at the client is HTTP,
decoding, queues and encoding. Beside it the same requests go through the same graph in a tight loop in this process, on
the service's CPU: the engine without a service around it. Sizes and the loop take turns in short blocks, because a
shared machine drifts; a figure is the median over blocks, and a ratio that of neighbours in time.

``--columns`` measures requests of columns beside those of objects, and ``--catalogue`` columns of ids and scores whose
items are in a catalogue, both of the same items.
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
from loadtest.requests.forms import Form
from loadtest.requests.payloads import items_from
from loadtest.rig.client import KeepAliveClient
from loadtest.rig.server import UNHURRIED, on_cpus
from loadtest.rig.statistics import Latency, PairedRatio
from loadtest.rig.subject import Measured, Subject, command_parser, markdown, run_command, subject_from
from models.contract.manifest import Manifest

TARGETS: Final[Mapping[tuple[Form, int, str], float]] = {
    ("objects", 100, "overhead_p50"): 1.0,
    ("objects", 100, "infer_ratio"): 1.3,
    ("objects", 1000, "total_p50"): 6.0,
    ("catalogue", 100, "overhead_ratio"): 0.6,
    ("catalogue", 1000, "overhead_ratio"): 0.3,
    ("catalogue", 1000, "infer_ratio"): 1.4,
}
"""Form, candidates and figure (milliseconds, or a ratio) to the limit that it must stay under."""

MOST_GROWTH: Final = 1.5
"""Most times that a request of 1,000 candidates of a catalogue takes as long as one of 100."""

HEAD: Final = (
    *(
        "form",
        "candidates",
        "body KB",
        "total p50 ms",
        "total p99 ms",
        "infer p50 ms",
        "overhead p50 ms",
        "overhead p99 ms",
    ),
    *("tight loop p50 ms", "infer / tight loop (95%)", "overhead / objects' (95%)"),
)


@dataclass(frozen=True, slots=True)
class Overhead:
    """Milliseconds for one size of request: medians over blocks of each block's percentile.

    `tight_p50` is the engine in a tight loop, `infer_ratio` the paired ratio of inference in the service to it, with
    its 95% interval. All four are None for a graph that takes any number of slots, which the loop cannot run.
    `overhead_ratio` is the paired ratio of the overhead to that of objects of the same size; None for objects.
    """

    form: Form
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
    overhead_ratio: float | None = None
    overhead_ratio_low: float | None = None
    overhead_ratio_high: float | None = None


@dataclass(frozen=True, slots=True)
class TimedBlock:
    """Milliseconds of consecutive requests: at the client, and inference as stated by the response.

    `tight` is the engine alone, in a loop next to this block.
    """

    total: list[float]
    infer: list[float]
    tight: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> list[float]:
        """Return what is no inference, request by request."""
        return [total - infer for total, infer in zip(self.total, self.infer, strict=True)]


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


def summarise(
    candidates: int,
    body_kb: float,
    blocks: Sequence[TimedBlock],
    form: Form = "objects",
    objects: Sequence[TimedBlock] = (),
) -> Overhead:
    """Take medians over blocks; the overhead is taken request by request, before any percentile.

    `objects` are the neighbouring blocks of objects, for another form.
    """
    total = [Latency.of(b.total) for b in blocks]
    infer = [Latency.of(b.infer) for b in blocks]
    rest = [Latency.of(b.overhead) for b in blocks]
    medians = {
        f"{name}_{p}": round(statistics.median(getattr(latency, p) for latency in latencies), 3)
        for name, latencies in (("total", total), ("infer", infer), ("overhead", rest))
        for p in ("p50", "p99")
    }
    requests = sum(latency.requests for latency in total)
    ratios = _beside_the_loop(infer, blocks)
    if objects:
        ratio = PairedRatio.of([Latency.of(b.overhead).p50 for b in objects], [latency.p50 for latency in rest])
        ratios |= _interval("overhead_ratio", ratio)
    return Overhead(form, candidates, requests, round(body_kb, 1), **medians, **ratios)


def _beside_the_loop(infer: Sequence[Latency], blocks: Sequence[TimedBlock]) -> dict[str, float]:
    if not all(b.tight for b in blocks):
        return {}
    tight = [Latency.of(b.tight).p50 for b in blocks]
    ratio = PairedRatio.of(tight, [latency.p50 for latency in infer])
    return {"tight_p50": round(statistics.median(tight), 3), **_interval("infer_ratio", ratio)}


def _interval(name: str, ratio: PairedRatio) -> dict[str, float]:
    figures = {name: ratio.median, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
    return {key: round(value, 3) for key, value in figures.items()}


def table(rows: Sequence[Overhead]) -> str:
    """Return a table with one row per size."""
    cells = []
    for r in rows:
        figures = (r.total_p50, r.total_p99, r.infer_p50, r.overhead_p50, r.overhead_p99)
        tight = "–" if r.tight_p50 is None else f"{r.tight_p50:.2f}"
        ratios = (_shown(r, "infer_ratio"), _shown(r, "overhead_ratio"))
        cells.append((r.form, r.candidates, r.body_kb, *(f"{x:.2f}" for x in figures), tight, *ratios))
    return markdown(HEAD, cells)


def _shown(row: Overhead, ratio: str) -> str:
    value, low, high = (getattr(row, ratio + end) for end in ("", "_low", "_high"))
    return "–" if value is None else f"{value:.2f} ({low} to {high})"


def missed(rows: Sequence[Overhead]) -> list[str]:
    """Name the targets that were not met."""
    known = {(row.form, row.candidates): row for row in rows}
    found = []
    for (form, n, figure), limit in TARGETS.items():
        value = getattr(known[form, n], figure) if (form, n) in known else None
        if value is not None and value >= limit:
            unit = " ms" if figure.endswith("p50") else ""
            found.append(f"{form}, {n} candidates: {figure} is {value:.2f}{unit}, not under {limit:g}{unit}")
    large, small = (known.get(("catalogue", n)) for n in (1000, 100))
    if large and small and large.total_p50 > MOST_GROWTH * small.total_p50:
        growth = large.total_p50 / small.total_p50
        found.append(f"catalogue: 1000 candidates take {growth:.2f} times as long as 100, over {MOST_GROWTH:g}")
    return found


def run(options: argparse.Namespace) -> Measured:
    """Serve, measure every form and size in interleaved blocks, stop. Raises `ValueError` or `ServerError`."""
    subjects = _subjects(options)
    *_, served = subjects.values()  # Of the form that needs most.
    blocks: dict[tuple[Form, int], list[TimedBlock]] = {key: [] for key in subjects}
    with (
        served.running(defaults=UNHURRIED) as (_, endpoint),
        on_cpus(served.split.client),
        KeepAliveClient(endpoint.port) as client,
    ):
        messages = {key: of.messages(endpoint) for key, of in subjects.items()}
        loops = {key: _tight_loop(of) for key, of in subjects.items()}
        for key in subjects:
            measure(client, messages[key], options.requests)
        for _ in range(options.blocks):
            for key in subjects:
                block = measure(client, messages[key], options.requests)
                with on_cpus(served.split.server):
                    blocks[key].append(replace(block, tight=loops[key](options.requests)))
    rows = []
    for (form, n), of in subjects.items():
        size = statistics.mean(map(len, of.bodies)) / 1000
        rows.append(summarise(n, size, blocks[form, n], form, () if form == "objects" else blocks["objects", n]))
    faults = missed(rows)
    text = f"{table(rows)}\n\nverdict: {'; '.join(faults) or 'all targets met'}"
    return text, {"rows": [asdict(row) for row in rows], "missed": faults}


def _subjects(options: argparse.Namespace) -> dict[tuple[Form, int], Subject]:
    """Make the requests of every form and size, all of the same items."""
    forms: list[Form] = ["objects"]
    forms += ["catalogue"] if options.catalogue else ["columns"] if options.columns else []
    items = items_from(argparse.Namespace(items=options.items, form=forms[-1]))
    return {
        (form, n): subject_from(options, timeout_ms=1000, count=16, candidates=n, form=form, items=items)
        for n in options.candidates
        for form in forms
    }


def _tight_loop(subject: Subject) -> Callable[[int], list[float]]:
    """Return a function that runs the graph so often and gives each time in ms."""
    if Manifest.read(subject.bundle).any_slots:
        return lambda _: []
    pipeline = Pipeline(subject.bundle, subject.catalogue)
    decode = msgspec.json.Decoder(PeerRequest).decode
    prepared = [[pipeline.prepare(decode(body))] for body in subject.bodies]

    def loop(runs: int) -> list[float]:
        pipeline.infer(prepared[0])  # Caches were the service's until now.
        return [pipeline.infer(prepared[i % len(prepared)]).seconds * 1000 for i in range(runs)]

    return loop


def main(argv: Sequence[str] | None = None) -> int:
    """Print table and verdict; exit with 1 for a missed target, 2 without a run."""
    parser = command_parser("loadtest.cost.overhead", __doc__, without=("--form",))
    add = parser.add_argument
    add("--candidates", type=int, nargs="+", default=[100, 1000], help="sizes to measure (100 1000)")
    add("--columns", action="store_true", help="measure columns beside objects")
    add("--catalogue", action="store_true", help="measure columns of ids and scores beside objects, with a catalogue")
    add("--blocks", type=int, default=15, help="blocks of each size (15)")
    add("--requests", type=int, default=100, help="requests of a block (100)")
    return run_command(parser, argv, run)


if __name__ == "__main__":
    raise SystemExit(main())
