"""Measure cost against list length L, width d, candidates N and batch, each alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from export.bench.bundle import BenchModel, write_bench_bundle
from export.bench.engine import Run, interleaved
from loadtest.rig.server import UNHURRIED
from loadtest.rig.statistics import Latency
from loadtest.rig.subject import Measured, command_parser, markdown, run_command, subject_from
from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, Manifest
from models.planners.runtime import GraphPlanner


class Sizes(NamedTuple):
    """One point of the sweep."""

    length: int = 10
    dim: int = 128
    candidates: int = 100
    batch: int = 1


SWEEPS: Final[dict[str, tuple[int, ...]]] = {"length": (5, 20, 30, 50), "dim": (32, 64, 256)}
SWEEPS.update({"candidates": (50, 200, 500, 1000), "batch": (2, 4, 8, 16, 32)})
HEAD: Final = ("varied", *Sizes._fields, "engine ms", "lists/s of a core", "service p50 ms", "service p99 ms")


def engine_run(folder: Path, batch: int) -> Run:
    """Return a run of a bundle's graph on a batch of its recorded requests."""
    planner, inputs = GraphPlanner((folder / MODEL_FILE).read_bytes()), Manifest.read(folder).inputs
    with np.load(folder / GOLDEN_FILE) as file:
        rows = {t.name: file[f"input.{t.name}"] for t in inputs}
    feeds = {name: array[np.arange(batch) % len(array)] for name, array in rows.items()}
    return lambda: planner(feeds)


def service_latency(options: argparse.Namespace, folder: Path, candidates: int) -> Latency:
    """Time single requests to a service. Raises `ValueError` for answers without the model."""
    served: dict[str, Any] = {"bundles": folder.parents[1], "bundle": folder, "candidates": candidates}
    subject = subject_from(options, timeout_ms=1000, count=16, **served)
    with subject.running(defaults=UNHURRIED) as (_, endpoint):
        return Latency.of(subject.closed(endpoint, options.seconds, concurrency=1, warm_up=0.5).full_ms())


def measure(options: argparse.Namespace) -> Measured:
    """Time the engine at all points in interleaved blocks, then the service."""
    base = Sizes(dim=options.dim)
    points = [("base", base), *((n, base._replace(**{n: v})) for n, values in SWEEPS.items() for v in values)]
    models = {s: (f"l{s.length}-d{s.dim}", BenchModel(dim=s.dim, list_length=s.length)) for _, s in points}
    folders = {s: write_bench_bundle(options.out / name, model, requests=10) for s, (name, model) in models.items()}
    seconds = interleaved({str(s): engine_run(folders[s], s.batch) for s in folders}, blocks=options.blocks, runs=10)
    service = {s: service_latency(options, folders[s], s.candidates) for s in folders if s.batch == 1}
    shown = {s: (f"{found.p50:.2f}", f"{found.p99:.2f}") for s, found in service.items()}
    engine = {s: float(np.median(seconds[str(s)])) for s in folders}
    rows = [
        (name, *s, f"{engine[s] * 1e3:.2f}", f"{s.batch / engine[s]:,.0f}", *shown.get(s, ("–", "–")))
        for name, s in points
    ]
    return markdown(HEAD, rows), {"rows": [dict(zip(HEAD, row, strict=True)) for row in rows]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 0, or 2 without figures."""
    parser = command_parser("loadtest.cost.growth", __doc__, without=("--bundles", "--bundle", "--candidates"))
    parser.add_argument("--out", type=Path, default=Path("build/growth"), help="folder of the models (build/growth)")
    parser.add_argument("--dim", type=int, default=Sizes().dim, help="width of the model that varies (128)")
    parser.add_argument("--blocks", type=int, default=15, help="interleaved blocks of the engine (15)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window of the service (5)")
    return run_command(parser, argv, measure)


if __name__ == "__main__":
    raise SystemExit(main())
