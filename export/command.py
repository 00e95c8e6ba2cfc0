"""Write the bundle that a service loads, from a checkpoint, after proving that graph and reference agree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from export.bundle import BundleOptions, write_bundle
from export.families import Family, Wishes, load_family
from export.learnt import verdict_of
from export.proof.precision import Precision
from models.contract.features import known_priors
from models.contract.manifest import Diversity, QueueSpec
from models.contract.spec import OBJECTIVES
from models.contract.verdict import Verdict
from models.options import parse_weights
from models.planners.objective import objective_formula


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint.pt of a run of either family")
    add("--out", type=Path, default=Path("bundles"), metavar="DIR", help="bundle root (default: %(default)s)")
    add("--name", required=True, help="the model's name in requests")
    add("--version", required=True, help="the bundle's version; an existing one is never overwritten")
    add("--list-length", type=int, metavar="L", help="positions the graph fills (default: the model's horizon)")
    add(
        "--queues",
        type=int,
        metavar="Q",
        help="most queues in a request (default: as many as --queue gives; DeGRe: at least 4)",
    )
    add("--head-width", type=int, metavar="H", help="SORT-Gen: heads per queue and step (default: 2)")
    add(
        "--beam-width",
        type=int,
        metavar="W",
        help="SORT-Gen: lists that are built side by side (default: 4; 1, which is greedy, for lists of more than 12)",
    )
    add(
        "--candidates",
        type=int,
        metavar="N",
        help="DeGRe: most candidates that are encoded, rounded up to a multiple of Q (default: 200)",
    )
    add(
        "--queue",
        action="append",
        type=_queue,
        metavar="NAME=FORMULA",
        help="a default queue, in priority order; repeatable (default: the objective formula, before it, for SORT-Gen, "
        "one per objective)",
    )
    add(
        "--fallback",
        metavar="FORMULA",
        help="what orders candidates without the model, and makes the sort's list (default: the objective formula; "
        "without a score 'ctr' the first queue's)",
    )
    add("--partition", choices=["bfs", "dfs"], default="bfs", help="how queues are filled (default: %(default)s)")
    add(
        "--objectives",
        type=parse_weights,
        metavar="A,B,G",
        help="default α,β,γ (SORT-Gen: 5,1,1 as far as it values them; DeGRe: those that it was distilled for)",
    )
    add("--trade-off", type=float, metavar="LAMBDA", help="default λ of MMR (SORT-Gen: 0.8; DeGRe: 1, no MMR)")
    add("--window", type=int, default=4, help="default window of MMR (default: %(default)s)")
    add(
        "--precision",
        choices=get_args(Precision),
        default="fp32",
        help="of the transformer blocks; fp16 is for GPUs, and proved by the list value that it loses "
        "(default: %(default)s)",
    )
    add(
        "--most-lost",
        type=float,
        default=1.0,
        metavar="PERCENT",
        help="list value that a reduced precision may lose (default: %(default)s)",
    )
    add(
        "--accept-worse",
        action="store_true",
        help="export a model even though its lists were found to be worse than those of the sort",
    )
    add("--requests", type=int, default=1000, help="random and edge requests to prove (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of those requests (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Export, prove, publish, print where."""
    family = load_family(arguments.checkpoint)
    options = bundle_options(family, arguments)
    folder, proof = write_bundle(arguments.out, family, options, requests=arguments.requests, seed=arguments.seed)
    print(f"{folder}: {proof.summary}")
    say_verdict(verdict_of(family.provenance))
    if options.precision == "fp16":
        print("float16 is for GPUs: on CPU, ONNX Runtime casts around most nodes, which takes about twice as long")
    return 0


def say_verdict(verdict: Verdict) -> None:
    """Print what the model is worth beside the sort; on stderr, as a warning, if that is no good news."""
    if verdict.is_good_news:
        print(f"beside the plain sort: {verdict.outcome}. {verdict.sentence}")
        return
    served = " The list of the sort is what will be served." if verdict.outcome == "sort" else ""
    print(f"listwright export: warning: {verdict.outcome}. {verdict.sentence}{served}", file=sys.stderr)


def default_objectives(family: Family, asked: Mapping[str, float] | None) -> Mapping[str, float]:
    """The bundle's α, β, γ: what is asked for, or the family's own without what the model does not value.

    Raises `ValueError` for a weight that is asked for on an objective which the model does not value, and if nothing
    is left.
    """
    if not family.valued:
        raise ValueError("the model values no objective: its log had no outcomes, or no scores that estimate them")
    weights = family.objectives(asked)
    unknown = [name for name in OBJECTIVES if weights[name] > 0 and name not in family.valued]
    if not unknown:
        return weights
    known, lacking = " and ".join(family.valued), " and ".join(unknown)
    if asked is not None:
        raise ValueError(f"--objectives: the model values {known} only, so the weight of {lacking} must be 0")
    left = {name: 0.0 if name in unknown else weight for name, weight in weights.items()}
    if not any(left.values()):
        raise ValueError(f"--objectives: is needed, since the model values {known} only, and {lacking} not")
    print(f"the model values {known} only, so the default weight of {lacking} is 0")
    return left


def bundle_options(family: Family, arguments: argparse.Namespace) -> BundleOptions:
    """The options that the command line asks for. Raises `ValueError` naming the one that is wrong."""
    trade_off = family.trade_off if arguments.trade_off is None else arguments.trade_off
    if not 0 <= trade_off <= 1:
        raise ValueError(f"--trade-off: must be within 0..1, not {trade_off:g}")
    if arguments.window < 0:
        raise ValueError(f"--window: must be at least 0, not {arguments.window}")
    if arguments.requests < 1:
        raise ValueError(f"--requests: must be at least 1, not {arguments.requests}")
    if arguments.queues is not None and arguments.queues < 1:
        raise ValueError(f"--queues: must be at least 1, not {arguments.queues}")
    if not 0 <= arguments.most_lost <= 100:
        raise ValueError(f"--most-lost: must be within 0..100, not {arguments.most_lost:g}")
    if arguments.beam_width is not None and arguments.beam_width < 1:
        raise ValueError(f"--beam-width: must be at least 1, not {arguments.beam_width}")
    queues = tuple(arguments.queue or family.default_queues())
    asked = arguments.objectives
    return BundleOptions(
        name=arguments.name,
        version=arguments.version,
        limits=family.limits(
            Wishes(
                queues=len(queues),
                most_queues=arguments.queues,
                list_length=arguments.list_length,
                head_width=arguments.head_width,
                candidates=arguments.candidates,
                beam_width=arguments.beam_width,
            )
        ),
        queues=queues,
        fallback=arguments.fallback or _default_fallback(family, queues),
        objectives=default_objectives(family, None if asked is None else dict(zip(OBJECTIVES, asked, strict=True))),
        diversity=Diversity(trade_off=trade_off, window=arguments.window),
        partition=arguments.partition,
        precision=arguments.precision,
        most_lost=arguments.most_lost,
        accept_worse=arguments.accept_worse,
    )


def _default_fallback(family: Family, queues: Sequence[QueueSpec]) -> str:
    """The objective formula; without the score that it is made of, the formula of the first queue."""
    if known_priors(family.spec)[0]:
        return objective_formula(family.spec, family.units)
    return queues[0].score


def _queue(text: str) -> QueueSpec:
    name, equals, formula = text.partition("=")
    if not (name and equals and formula):
        raise argparse.ArgumentTypeError(f"must be NAME=FORMULA, not {text!r}")
    return QueueSpec(name.strip(), formula.strip())
