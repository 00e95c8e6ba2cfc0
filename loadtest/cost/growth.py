"""Measure how cost grows: one size of the request or the model at a time is swept, the others stay at the base.

Every engine, every product and every kind of request to one service (which serves all the models) is timed in each
turn, in a random order, so that figures of one table are neighbours in time. Goodput is `loadtest.capacity`'s safe rate
of one worker. Knows nothing about how the figures are shown.
"""

from __future__ import annotations

import os
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
import onnx

from export.bench.bundle import BenchModel, write_bench_bundle
from export.bench.timing import BlockClock
from export.capacity import batch_of, engine_runs, fit_batch_time
from export.flops import count_flops
from export.matmul_rate import LARGE, Product, product_run, rate
from loadtest.capacity import Costs, Worker, make_plan, spread_of
from loadtest.cost.service_cost import CostedBlock, Split, costed_block, on_cpus
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.client import post_message
from loadtest.rig.closed_loop import ClosedLoop
from loadtest.rig.latency import Latency
from loadtest.rig.server import HOST, UNHURRIED, running_server
from models.contract.manifest import MODEL_FILE, Manifest

PATH: Final = "/v1/rerank"
_FIT_BATCHES: Final = (1, 2, 4, 8)
_PROOF_REQUESTS: Final = 10

T = TypeVar("T")


class Sizes(NamedTuple):
    """The length of a request, L, the batch and the model width d."""

    candidates: int = 100
    length: int = 10
    batch: int = 1
    dim: int = 128

    @property
    def model(self) -> BenchModel:
        """The model with these sizes."""
        return BenchModel(dim=self.dim, list_length=self.length)

    @property
    def model_name(self) -> str:
        """The name of that model's bundle."""
        return f"l{self.length}-d{self.dim}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to sweep, and how long. `bundles` is where the models with random weights are kept."""

    bundles: Path
    sweeps: Mapping[str, Sequence[int]] = field(
        default_factory=lambda: {
            "candidates": (50, 100, 200, 500, 1000),
            "length": (5, 10, 20, 30, 50),
            "batch": (1, 2, 4, 8, 16, 32),
            "dim": (32, 64, 128, 256),
        }
    )
    base: Sizes = field(default_factory=Sizes)
    blocks: int = 15
    runs: int = 10
    requests: int = 40
    serve_options: str = ""
    worker: Worker = field(default_factory=Worker)


@dataclass(frozen=True, slots=True)
class Row:
    """One point of a sweep. Times in milliseconds, rates in requests a second; None where a size plays no part.

    `floor_ms` is the products' arithmetic at the rate of a large product, `own_floor_ms` at that of the model's own
    shapes. `goodput` is what the plan calls safe for one worker with batches up to `max_batch`.
    """

    swept: str
    value: int
    mflops: float
    engine_ms: float
    floor_ms: float
    own_floor_ms: float
    fixed_ms: float
    each_ms: float
    service_p50_ms: float | None
    outside_ms: float
    max_batch: int
    goodput: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one product ran."""

    product: str
    gflops: float


@dataclass(frozen=True, slots=True)
class Growth:
    """All that was measured."""

    rows: tuple[Row, ...]
    rates: tuple[Rate, ...]


def measure(settings: Settings) -> Growth:
    """Make the bundles that are missing, measure, and work out the rows. Raises `ValueError` or `ServerError`."""
    points = [
        (name, value, settings.base._replace(**{name: value}))
        for name, values in settings.sweeps.items()
        for value in values
    ]
    sizes = _unique([settings.base, *(s for _, _, s in points)])
    folders = {
        s.model_name: write_bench_bundle(settings.bundles, s.model, name=s.model_name, requests=_PROOF_REQUESTS)
        for s in sizes
    }
    turns = _turns(settings, sizes, folders)
    return _work_out(settings, points, _flops(sizes, folders), turns)


class _Turn(NamedTuple):
    """One turn of everything: seconds by engine and product, and the service's blocks by kind of request."""

    engine: Mapping[str, float]
    alone: Mapping[Sizes, CostedBlock]
    loaded: Mapping[Sizes, CostedBlock]


def _turns(settings: Settings, sizes: Sequence[Sizes], folders: Mapping[str, Path]) -> list[_Turn]:
    split = Split.of(os.sched_getaffinity(0), settings.worker.cpus)
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        options = (*UNHURRIED, *shlex.split(settings.serve_options))
        server = stack.enter_context(running_server(settings.bundles, options=options, cpus=split.server))
        with on_cpus(split.server):
            clock = _clock(settings, sizes, folders)
        stack.enter_context(on_cpus(split.client))
        loops = [ClosedLoop(HOST, server.port, concurrency=n) for n in (1, max(2, settings.worker.max_batch))]
        for loop in loops:
            stack.callback(loop.close)
        kinds = _unique(s._replace(batch=settings.base.batch) for s in sizes)
        messages = {s: _messages(s, folders[s.model_name]) for s in kinds}
        for s in kinds:
            loops[1].block(messages[s], settings.requests)
        turns = []
        for _ in range(settings.blocks):
            with on_cpus(split.server):
                engine = clock.block()
            blocks: tuple[dict[Sizes, CostedBlock], dict[Sizes, CostedBlock]] = ({}, {})
            for i in rng.permutation(len(kinds)).tolist():
                for loop, found in zip(loops, blocks, strict=True):
                    found[kinds[i]] = costed_block(loop, server.pid, messages[kinds[i]], settings.requests)
            turns.append(_Turn(engine, *blocks))
    return turns


def _clock(settings: Settings, sizes: Sequence[Sizes], folders: Mapping[str, Path]) -> BlockClock:
    contestants = {str(product): product_run(product) for product in _products(sizes)}
    for name, folder in folders.items():
        batches = {*_FIT_BATCHES, *(s.batch for s in sizes if s.model_name == name)}
        runs = engine_runs(folder, sorted(batches), candidates=settings.base.candidates)
        contestants |= {f"{name} {batch}": run for batch, run in runs.items()}
    return BlockClock(contestants, runs=settings.runs)


def _products(sizes: Sequence[Sizes]) -> list[Product]:
    return [LARGE, *_unique(_own_product(s) for s in sizes)]


def _own_product(sizes: Sizes) -> Product:
    """The graph's commonest product: a step's proposals (Q·h rows a request) through the feed-forward layer."""
    return Product(3 * sizes.batch, sizes.dim, 4 * sizes.dim)


def _messages(sizes: Sizes, folder: Path) -> list[bytes]:
    options = PayloadOptions(count=16, sizes={sizes.candidates: 1.0}, extra={"timeout_ms": 1000})
    return [post_message(HOST, PATH, p.body) for p in make_payloads(from_bundle(folder, seed=0), options)]


def _flops(sizes: Sequence[Sizes], folders: Mapping[str, Path]) -> dict[Sizes, int]:
    found = {}
    for s in sizes:
        folder = folders[s.model_name]
        feeds = batch_of(Manifest.read(folder), s.batch, s.candidates)
        found[s] = count_flops(onnx.load(folder / MODEL_FILE), feeds)
    return found


def _work_out(
    settings: Settings,
    points: Sequence[tuple[str, int, Sizes]],
    flops: Mapping[Sizes, int],
    turns: Sequence[_Turn],
) -> Growth:
    seconds = {name: statistics.median(t.engine[name] for t in turns) for name in turns[0].engine}
    rates = {str(p): rate(p, seconds[str(p)]) for p in _products(list(flops))}
    rows = []
    for name, value, sizes in points:
        kind = sizes._replace(batch=settings.base.batch)
        costs, p50 = _costs(sizes, kind, turns)
        largest = value if name == "batch" else settings.worker.max_batch
        plan = make_plan(costs, replace(settings.worker, max_batch=largest), host_cpus=settings.worker.cpus)
        rows.append(
            Row(
                swept=name,
                value=value,
                mflops=flops[sizes] / 1e6,
                engine_ms=seconds[f"{sizes.model_name} {sizes.batch}"] * 1e3,
                floor_ms=flops[sizes] / rates[str(LARGE)] * 1e3,
                own_floor_ms=flops[sizes] / rates[str(_own_product(sizes))] * 1e3,
                fixed_ms=costs.fixed * 1e3,
                each_ms=costs.each * 1e3,
                service_p50_ms=None if name == "batch" else p50,
                outside_ms=costs.outside * 1e3,
                max_batch=largest,
                goodput=plan.safe_rate,
            )
        )
    return Growth(tuple(rows), tuple(Rate(name, value / 1e9) for name, value in rates.items()))


def _costs(sizes: Sizes, kind: Sizes, turns: Sequence[_Turn]) -> tuple[Costs, float]:
    """The plan's costs for one kind of request, and the service's p50 in milliseconds with one at a time."""
    batches = {*_FIT_BATCHES, sizes.batch}
    engine = fit_batch_time({n: [t.engine[f"{sizes.model_name} {n}"] for t in turns] for n in batches})
    alone = [t.alone[kind] for t in turns]
    cold = statistics.median(b.cpu.others for b in alone) - engine.seconds(1)
    outside = statistics.median(t.loaded[kind].cpu.first for t in turns)
    times = [ms / 1e3 for b in alone for ms in b.block.times_ms]
    p50 = statistics.median(Latency.of(b.block.times_ms).p50 for b in alone)
    return Costs(engine.fixed + max(0.0, cold), engine.each, outside, spread_of(times)), p50


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
