"""Write a bundle with random weights, for measuring: time does not depend on them.

``python -m export.bench.bundle`` makes the one that every figure in docs/performance.md was taken with (d = 128, 3
layers, L = 10, Q = 3, h = 1). The proof against the reference still has to hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, get_args

import torch

from export.bench.engine import SPEC, UNITS
from export.bundle import BundleOptions, write_bundle
from export.families.sort_gen import SortGen
from export.proof.precision import Precision
from models.contract.manifest import DiversityDefaults, Limits, QueueSpec
from models.nets.checkpoint import Checkpoint
from models.nets.value import ListValueModel, ValueConfig
from models.options import parse_seed
from models.planners.objective import objective_formula

_QUEUES = (QueueSpec("click", "ctr"), QueueSpec("conversion", "ctr*cvr"), QueueSpec("gmv", "ctr*cvr*price"))
_SPREAD: Final = 0.1


@dataclass(frozen=True, slots=True)
class BenchModel:
    """Sizes of a model with random weights: width `dim`, L = `list_length`, h = `head_width`, W = `beam_width`."""

    dim: int = 128
    layers: int = 3
    list_length: int = 10
    head_width: int = 1
    beam_width: int = 1
    seed: int = 0
    precision: Precision = "fp32"
    rules: bool = True
    """Whether there is a graph for requests with rules."""


def bench_family(model: BenchModel) -> SortGen:
    """Make the model; equal sizes and seed give equal weights. Raises `ValueError` for bad sizes."""
    torch.manual_seed(model.seed)
    config = ValueConfig(dim=model.dim, layers=model.layers, list_length=model.list_length)
    value_model = ListValueModel(SPEC, config).eval()
    with torch.no_grad():
        for parameter in value_model.parameters():
            if not parameter.any():  # What starts at zero would make all candidates worth the same.
                parameter.normal_(std=_SPREAD)
    return SortGen(Checkpoint(value_model, UNITS, {"data": "none: random weights"}))


def write_bench_bundle(
    root: Path, model: BenchModel, *, name: str = "bench", version: str = "1", requests: int = 50
) -> Path:
    """Write ``root/name/version`` unless it is there, proved on `requests`; return the folder.

    Raises `ExportError` for names that no bundle may have, `ValueError` for sizes that no model may have.
    """
    folder = root / name / version
    if folder.exists():
        return folder
    options = BundleOptions(
        name=name,
        version=version,
        limits=Limits(model.list_length, queues=len(_QUEUES), head_width=model.head_width, beam_width=model.beam_width),
        queues=_QUEUES,
        fallback=objective_formula(SPEC, UNITS),
        objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
        diversity=DiversityDefaults(trade_off=0.8, window=4),
        precision=model.precision,
        rules=model.rules,
    )
    return write_bundle(root, bench_family(model), options, requests=requests, seed=model.seed).folder


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bundle unless it is there already, and print its folder."""
    options = _parser().parse_args(argv)
    model = BenchModel(**{field.name: getattr(options, field.name) for field in fields(BenchModel)})
    try:
        folder = write_bench_bundle(
            options.out, model, name=options.name, version=options.version, requests=options.requests
        )
    except ValueError as error:  # A name that no bundle may have, or a proof that failed.
        raise SystemExit(f"export.bench.bundle: {error}") from None
    print(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.bench.bundle", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("build/bench"), help="bundle root (default: %(default)s)")
    add("--name", default="bench", help="the model's name (default: %(default)s)")
    add("--version", default="1", help="the bundle's version (default: %(default)s)")
    add("--dim", type=int, default=128, help="model width (default: %(default)s)")
    add("--layers", type=int, default=3, help="transformer layers (default: %(default)s)")
    add("--list-length", type=int, default=10, metavar="L", help="positions (default: %(default)s)")
    add("--head-width", type=int, default=1, metavar="H", help="heads per queue and step (default: %(default)s)")
    add("--beam-width", type=int, default=1, metavar="W", help="lists built side by side (default: %(default)s)")
    add("--precision", choices=get_args(Precision), default="fp32", help="of the blocks (default: %(default)s)")
    add("--no-rules", dest="rules", action="store_false", help="leave out the graph for requests with rules")
    add("--requests", type=int, default=50, help="requests of the proof (default: %(default)s)")
    add("--seed", type=parse_seed, default=0, help="seed of weights and proof (default: %(default)s)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
