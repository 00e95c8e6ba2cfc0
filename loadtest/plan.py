"""`listwright bench --plan`: measure what a request costs on this host, and say how many are safe.

Three measurements take turns in blocks: the bundle's graph alone at every batch size (on the CPU that the service has),
the service with one request at a time, and the service with as many at once as its largest batch. The arithmetic is
`loadtest.capacity`'s.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from export.capacity import BatchTime, engine_clock, fit_batch_time
from loadtest.capacity import Costs, Plan, Worker, make_plan, spread_of
from loadtest.cost.service_cost import CostedBlock, Split, costed_block, on_cpus
from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
from loadtest.rig.client import post_message
from loadtest.rig.closed_loop import ClosedLoop
from loadtest.rig.latency import BUDGET_MS
from loadtest.rig.server import HOST, UNHURRIED, ServerError, running_server
from models.contract.manifest import Manifest
from models.files import write_json

PATH: Final = "/v1/rerank"
_REQUESTS_PER_RUN: Final = 4
DEFAULTS: Final[Mapping[str, Any]] = {
    "rate": None,
    "cpus": 1,
    "max_batch": 8,
    "budget_ms": BUDGET_MS,
    "reserve_ms": 0.0,
    "candidates": 100,
    "serve_options": "",
    "bundle": None,
}
"""The options that only a plan has."""

_NOT_A_PLANS: Final = ("evaluator_layers", "queues", "head_widths", "beam_width", "long")
_OF_RANDOM_WEIGHTS: Final = ("dim", "layers")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the plan's options; each is None until `complete`, so that one given without --plan can be named."""
    add = parser.add_argument_group("capacity plan").add_argument
    add("--plan", action="store_true", help="fit T(batch) = a + b·batch and say how many requests/s are safe")
    add("--bundle", type=Path, metavar="FOLDER", help="bundle to plan for (default: random weights of --dim, --layers)")
    add("--rate", type=float, metavar="R", help="requests/s to say the number of workers for")
    add("--cpus", type=int, metavar="N", help="CPUs of a worker: 1 or 2 (default: 1)")
    add("--max-batch", type=int, metavar="M", help="the service's largest batch (default: 8)")
    add("--budget-ms", type=float, metavar="MS", help="p99 to keep (default: 19)")
    add("--reserve-ms", type=float, metavar="MS", help="time before the deadline at which the model is given up (0)")
    add("--candidates", type=int, metavar="N", help="candidates of a request (default: 100)")
    add("--serve-options", metavar="OPTIONS", help="more options of `listwright serve`, as one argument")


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the plan's defaults, before `export.bench.options` fills in its own.

    Raises `ValueError` naming an option that would do nothing, with or without --plan.
    """
    if arguments.plan:
        _refuse(arguments, _NOT_A_PLANS, "does nothing with --plan")
        if arguments.bundle is not None:
            _refuse(arguments, _OF_RANDOM_WEIGHTS, "does nothing with --bundle, whose sizes it has")
        elif arguments.family != "sort-gen":
            raise ValueError(f"--family: random weights are SORT-Gen's; for {arguments.family} give a --bundle")
    else:
        _refuse(arguments, DEFAULTS, "does nothing without --plan")
    for name, default in DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


def _refuse(arguments: argparse.Namespace, names: Iterable[str], problem: str) -> None:
    for name in names:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')}: {problem}")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured: the bare engine, and CPU seconds per request inside the service.

    `engine_alone` is the inference thread's with one request at a time; `loop` and `engine_loaded` are with as many in
    flight as the largest batch. `times` are response times in seconds, one at a time.
    """

    engine: BatchTime
    engine_alone: float
    engine_loaded: float
    loop_alone: float
    loop: float
    closed_rate: float
    times: tuple[float, ...]

    def costs(self) -> Costs:
        """What the arithmetic needs."""
        cold = max(0.0, self.engine_alone - self.engine.seconds(1))
        return Costs(self.engine.fixed + cold, self.engine.each, self.loop, spread_of(self.times))


@dataclass(frozen=True, slots=True)
class _Block:
    """One turn of each: seconds by batch size, and requests to the service one at a time and many at once."""

    engine: dict[str, float]
    alone: CostedBlock
    loaded: CostedBlock


def run(arguments: argparse.Namespace) -> int:
    """Measure, print Markdown. Raises `ValueError` naming the option that is wrong, or saying what the service did."""
    worker = Worker(arguments.cpus, arguments.max_batch, arguments.budget_ms / 1e3, arguments.reserve_ms / 1e3)
    split = Split.of(os.sched_getaffinity(0), worker.cpus)
    try:
        with _bundle_root(arguments) as folder:
            measured = measure(folder, arguments, split)
    except ServerError as error:
        raise ValueError(str(error)) from None
    host_cpus = len(os.sched_getaffinity(0))
    plan = make_plan(measured.costs(), worker, host_cpus=host_cpus, rate=arguments.rate)
    print(render(measured, worker, plan, rate=arguments.rate, shared=split.shared))
    if arguments.json is not None:
        write_json(arguments.json, to_json(measured, worker, plan, split))
    return 0


def measure(folder: Path, arguments: argparse.Namespace, split: Split) -> Measured:
    """Serve the bundle in ``folder`` (``root/name/version``) and measure it and its engine in turn."""
    batches = _batch_sizes(arguments.max_batch)
    settings = PayloadOptions(count=16, sizes={arguments.candidates: 1.0}, extra={"timeout_ms": 1000})
    bodies = [payload.body for payload in make_payloads(from_bundle(folder, seed=0), settings)]
    requests = arguments.runs * _REQUESTS_PER_RUN
    options = (*UNHURRIED, *shlex.split(arguments.serve_options))
    with ExitStack() as stack:
        with on_cpus(split.server):
            clock = engine_clock(folder, batches, candidates=arguments.candidates, runs=arguments.runs)
        server = stack.enter_context(running_server(folder.parents[1], options=options, cpus=split.server))
        stack.enter_context(on_cpus(split.client))
        loops = [ClosedLoop(HOST, server.port, concurrency=n) for n in (1, max(2, arguments.max_batch))]
        for loop in loops:
            stack.callback(loop.close)
        messages = [post_message(HOST, PATH, body) for body in bodies]
        for loop in loops:
            loop.block(messages, requests)
        blocks = []
        for _ in range(arguments.blocks):
            with on_cpus(split.server):
                engine = clock.block()
            alone, loaded = (costed_block(loop, server.pid, messages, requests) for loop in loops)
            blocks.append(_Block(engine, alone, loaded))
    return _summary(blocks)


def _summary(blocks: Sequence[_Block]) -> Measured:
    """Medians over blocks."""
    median = statistics.median
    return Measured(
        engine=fit_batch_time({int(n): [b.engine[n] for b in blocks] for n in blocks[0].engine}),
        engine_alone=median(b.alone.cpu.others for b in blocks),
        engine_loaded=median(b.loaded.cpu.others for b in blocks),
        loop_alone=median(b.alone.cpu.first for b in blocks),
        loop=median(b.loaded.cpu.first for b in blocks),
        closed_rate=median(b.loaded.block.rate for b in blocks),
        times=tuple(ms / 1e3 for b in blocks for ms in b.alone.block.times_ms),
    )


def _batch_sizes(largest: int) -> list[int]:
    """Every size up to 8, then every second power, and the largest; at least two, for a line."""
    sizes = {n for n in (*range(1, 9), 16, 32, 64) if n <= largest} | {largest}
    return sorted(sizes | {1, 2})


@contextlib.contextmanager
def _bundle_root(arguments: argparse.Namespace) -> Iterator[Path]:
    """A copy of the bundle (or one with random weights) that is alone in its root, so that nothing else is served."""
    with tempfile.TemporaryDirectory() as root:
        if arguments.bundle is None:
            # Only this needs PyTorch.
            from export.bench.bundle import BenchModel, write_bench_bundle

            yield write_bench_bundle(Path(root), BenchModel(arguments.dim, arguments.layers))
        else:
            manifest = Manifest.read(arguments.bundle)
            yield Path(shutil.copytree(arguments.bundle, Path(root) / manifest.name / manifest.version))


def render(measured: Measured, worker: Worker, plan: Plan, *, rate: float | None, shared: bool) -> str:
    """The plan as Markdown."""
    engine, costs = measured.engine, measured.costs()
    residuals = engine.residuals()
    rows = [
        f"| {n} | {seconds * 1e3:.3f} | {engine.seconds(n) * 1e3:.3f} | {residuals[n]:+.1%} |"
        for n, seconds in engine.measured.items()
    ]
    lines = [
        f"T(batch) = {engine.fixed * 1e3:.3f} + {engine.each * 1e3:.3f}·batch ms: R² {engine.r_squared:.4f}, "
        f"largest residual {engine.worst_residual:.1%}",
        "",
        "| batch | measured ms | T ms | residual |",
        "|---:|---:|---:|---:|",
        *rows,
        "",
        f"- CPU per request outside the engine: {measured.loop * 1e3:.3f} ms under load "
        f"({measured.loop_alone * 1e3:.3f} one at a time)",
        f"- CPU per request of the inference thread: {measured.engine_alone * 1e3:.3f} ms one at a time, against "
        f"T(1) = {engine.seconds(1) * 1e3:.3f}; {measured.engine_loaded * 1e3:.3f} under load",
        f"- so a run inside the service is planned as {costs.fixed * 1e3:.3f} + {costs.each * 1e3:.3f}·batch ms",
        f"- closed loop, {max(2, worker.max_batch)} in flight: {measured.closed_rate:.0f} requests/s",
        "",
        f"One worker on {worker.cpus} CPU, p99 ≤ {worker.budget * 1e3:g} ms"
        + (f" less {worker.reserve * 1e3:g} in reserve" if worker.reserve else "")
        + f", batches of at most {worker.max_batch}:",
        "",
        f"- largest batch that fits (one run to wait for, one of its own): {plan.largest_batch}",
        f"- safe: **{plan.safe_rate:.0f} requests/s** ({plan.utilisation:.0%} of its capacity of {plan.capacity:.0f})",
        f"- this host: {plan.workers} workers, {plan.host_rate:.0f} requests/s, if nothing else runs on it",
    ]
    if plan.workers_for_rate is not None:
        lines.append(f"- for {rate:g} requests/s: {plan.workers_for_rate} workers")
    if shared:
        lines.append(
            "\nThe client shared the service's CPUs: the spread of single requests, and so the plan, is too wary."
        )
    return "\n".join(lines)


def to_json(measured: Measured, worker: Worker, plan: Plan, split: Split) -> dict[str, Any]:
    """The figures; seconds."""
    engine = measured.engine
    fit = {"fixed": engine.fixed, "each": engine.each, "r_squared": engine.r_squared, "measured": engine.measured}
    others = {
        f.name: getattr(measured, f.name) for f in dataclasses.fields(measured) if f.name not in ("engine", "times")
    }
    return {
        "engine": fit,
        "service": others,
        "worker": dataclasses.asdict(worker),
        "plan": dataclasses.asdict(plan),
        "cpus": dataclasses.asdict(split),
    }
