"""Write the bundle that a service loads, from a checkpoint, after proving that graph and reference agree."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.bundle import BundleOptions, write_bundle
from models.checkpoint import Checkpoint, load_checkpoint
from models.commands.options import parse_weights
from models.manifest import Diversity, Limits, QueueSpec
from models.planners.objective import default_queues, objective_formula
from models.spec import OBJECTIVES


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint.pt of a training run")
    add("--out", type=Path, default=Path("bundles"), metavar="DIR", help="bundle root (default: %(default)s)")
    add("--name", required=True, help="the model's name in requests")
    add("--version", required=True, help="the bundle's version; an existing one is never overwritten")
    add("--list-length", type=int, metavar="L", help="positions the graph fills (default: the model's horizon)")
    add("--queues", type=int, metavar="Q", help="most queues in a request (default: as many as --queue gives)")
    add("--head-width", type=int, default=2, metavar="H", help="heads per queue and step (default: %(default)s)")
    add(
        "--queue",
        action="append",
        type=_queue,
        metavar="NAME=FORMULA",
        help="a default queue, in priority order; repeatable (default: one per objective and the objective formula)",
    )
    add("--partition", choices=["bfs", "dfs"], default="bfs", help="how queues are filled (default: %(default)s)")
    add(
        "--objectives",
        type=parse_weights,
        default=(5.0, 1.0, 1.0),
        metavar="A,B,G",
        help="default α,β,γ (5,1,1)",
    )
    add("--trade-off", type=float, default=0.8, metavar="LAMBDA", help="default λ of MMR (default: %(default)s)")
    add("--window", type=int, default=4, help="default window of MMR (default: %(default)s)")
    add("--requests", type=int, default=1000, help="random and edge requests to prove (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of those requests (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Export, prove, publish, print where."""
    checkpoint = load_checkpoint(arguments.checkpoint)
    options = bundle_options(checkpoint, arguments)
    folder, proof = write_bundle(arguments.out, checkpoint, options, requests=arguments.requests, seed=arguments.seed)
    print(
        f"{folder}: proved on {proof.requests} requests, {proof.near_ties} near ties, "
        f"largest error {proof.largest_error:.1e}"
    )
    return 0


def bundle_options(checkpoint: Checkpoint, arguments: argparse.Namespace) -> BundleOptions:
    """The options that the command line asks for. Raises `ValueError` naming the one that is wrong."""
    if not 0 <= arguments.trade_off <= 1:
        raise ValueError(f"--trade-off: must be within 0..1, not {arguments.trade_off:g}")
    if arguments.window < 0:
        raise ValueError(f"--window: must be at least 0, not {arguments.window}")
    if arguments.requests < 1:
        raise ValueError(f"--requests: must be at least 1, not {arguments.requests}")
    spec, units = checkpoint.spec, checkpoint.units
    queues = tuple(arguments.queue or default_queues(spec, units))
    return BundleOptions(
        name=arguments.name,
        version=arguments.version,
        limits=Limits(
            list_length=checkpoint.config.list_length if arguments.list_length is None else arguments.list_length,
            queues=len(queues) if arguments.queues is None else arguments.queues,
            head_width=arguments.head_width,
        ),
        queues=queues,
        fallback=objective_formula(spec, units),
        objectives=dict(zip(OBJECTIVES, arguments.objectives, strict=True)),
        diversity=Diversity(trade_off=arguments.trade_off, window=arguments.window),
        partition=arguments.partition,
    )


def _queue(text: str) -> QueueSpec:
    name, equals, formula = text.partition("=")
    if not (name and equals and formula):
        raise argparse.ArgumentTypeError(f"must be NAME=FORMULA, not {text!r}")
    return QueueSpec(name.strip(), formula.strip())
