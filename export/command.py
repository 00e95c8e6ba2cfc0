"""Export a checkpoint as a bundle, after proving that graph and reference agree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from export.bundle import BundleOptions, write_bundle
from export.families.degre import Degre
from export.families.family import ModelFamily, Wishes
from export.families.sort_gen import SortGen
from export.proof.precision import Precision
from models.contract.features import known_priors
from models.contract.manifest import DiversityDefaults, QueueSpec
from models.contract.spec import OBJECTIVES
from models.contract.verdict import Verdict
from models.nets.checkpoint import GENERATOR_KIND, checkpoint_kind, load_checkpoint, load_generator_checkpoint
from models.options import check_at_least, parse_seed, parse_weights
from models.planners.objective import objective_formula


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint.pt of a run of either family")
    add("--out", type=Path, default=Path("bundles"), metavar="DIR", help="bundle root (default: %(default)s)")
    add("--name", required=True, help="the model's name in requests")
    add("--version", required=True, help="the bundle's version; an existing one is never overwritten")
    _add_sizes(parser.add_argument_group("sizes of the graph"))
    _add_defaults(parser.add_argument_group("defaults of requests"))
    _add_proof(parser.add_argument_group("precision and proof"))


def _add_sizes(group: argparse._ArgumentGroup) -> None:
    texts = {
        "list-length": ("L", "positions the graph fills (default: the model's horizon)"),
        "queues": ("Q", "most queues in a request (default: as many as --queue gives; DeGRe: at least 4)"),
        "head-width": ("H", "SORT-Gen: heads per queue and step (default: 2)"),
        "beam-width": (
            "W",
            "SORT-Gen: lists that are built side by side (default: 4; 1, which is greedy, for lists of more than 12)",
        ),
        "candidates": ("N", "DeGRe: most candidates that are encoded, rounded up to a multiple of Q (default: 200)"),
    }
    for name, (metavar, text) in texts.items():
        group.add_argument(f"--{name}", type=int, metavar=metavar, help=text)


def _add_defaults(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "a default queue, in priority order; repeatable (default: the objective formula, before it, for SORT-Gen, "
    add("--queue", action="append", type=_queue, metavar="NAME=FORMULA", help=text + "one per objective)")
    text = "orders candidates without the model, and makes the sort's list (default: the objective formula; without a "
    add("--fallback", metavar="FORMULA", help=text + "score 'ctr' the first queue's)")
    add("--partition", choices=["bfs", "dfs"], default="bfs", help="how queues are filled (default: %(default)s)")
    text = "default α,β,γ (SORT-Gen: 5,1,1 as far as it values them; DeGRe: those that it was distilled for)"
    add("--objectives", type=parse_weights, metavar="A,B,G", help=text)
    add("--trade-off", type=float, metavar="LAMBDA", help="default λ of MMR (SORT-Gen: 0.8; DeGRe: 1, no MMR)")
    add("--window", type=int, default=4, help="default window of MMR (default: %(default)s)")


def _add_proof(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "of the transformer blocks; fp16 is for GPUs, and proved by the list value that it loses "
    add("--precision", choices=get_args(Precision), default="fp32", help=text + "(default: %(default)s)")
    text = "list value that a reduced precision may lose (default: %(default)s)"
    add("--most-lost", type=float, default=1.0, metavar="PERCENT", help=text)
    text = "export a model even though its lists were found to be worse than those of the sort"
    add("--accept-worse", action="store_true", help=text)
    text = "leave out the graph for requests with rules, which are then refused; for benchmarks"
    add("--no-rules", dest="rules", action="store_false", help=text)
    text = "random and edge requests to prove, and half as many with rules (default: %(default)s)"
    add("--requests", type=int, default=1000, help=text)
    add("--seed", type=parse_seed, default=0, help="seed of those requests (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Export, prove, publish, print where."""
    family = load_family(arguments.checkpoint)
    options = bundle_options(family, arguments)
    written = write_bundle(arguments.out, family, options, requests=arguments.requests, seed=arguments.seed)
    print(f"{written.folder}: {written.proof.summary}")
    if written.ruled is not None:
        print(f"with rules: {written.ruled.summary}")
    say_verdict(family.verdict)
    if options.precision == "fp16":
        print("float16 is for GPUs: on CPU, ONNX Runtime casts around most nodes, which takes about twice as long")
    return 0


def load_family(path: Path) -> ModelFamily:
    """Load the model in a checkpoint of either kind. Raises `CheckpointError`."""
    if checkpoint_kind(path) == GENERATOR_KIND:
        return Degre(load_generator_checkpoint(path))
    return SortGen(load_checkpoint(path))


def say_verdict(verdict: Verdict) -> None:
    """Print the verdict on the model, on stderr as a warning if it is bad."""
    if verdict.is_good_news:
        print(f"beside the plain sort: {verdict.outcome}. {verdict.sentence}")
        return
    served = " The list of the sort is what will be served." if verdict.outcome == "sort" else ""
    print(f"listwright export: warning: {verdict.outcome}. {verdict.sentence}{served}", file=sys.stderr)


def default_objectives(family: ModelFamily, asked: Mapping[str, float] | None) -> Mapping[str, float]:
    """Choose the bundle's α, β, γ: those asked for, or the family's own.

    Raises `ValueError` for a weight that is asked for on an objective without value, and if nothing is left.
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


def bundle_options(family: ModelFamily, arguments: argparse.Namespace) -> BundleOptions:
    """Read the bundle's options from the command line; a wrong one raises `ValueError`."""
    check_at_least(arguments, window=0, requests=1, queues=1, beam_width=1)
    trade_off = family.trade_off if arguments.trade_off is None else arguments.trade_off
    for name, value, most in (("trade-off", trade_off, 1), ("most-lost", arguments.most_lost, 100)):
        if not 0 <= value <= most:
            raise ValueError(f"--{name}: must be within 0..{most}, not {value:g}")
    queues = tuple(arguments.queue or family.default_queues())
    asked = arguments.objectives
    sizes = {name: getattr(arguments, name) for name in ("list_length", "head_width", "candidates", "beam_width")}
    return BundleOptions(
        name=arguments.name,
        version=arguments.version,
        limits=family.limits(Wishes(queues=len(queues), most_queues=arguments.queues, **sizes)),
        queues=queues,
        fallback=arguments.fallback or _default_fallback(family, queues),
        objectives=default_objectives(family, None if asked is None else dict(zip(OBJECTIVES, asked, strict=True))),
        diversity=DiversityDefaults(trade_off=trade_off, window=arguments.window),
        partition=arguments.partition,
        precision=arguments.precision,
        most_lost=arguments.most_lost,
        accept_worse=arguments.accept_worse,
        rules=arguments.rules,
    )


def _default_fallback(family: ModelFamily, queues: Sequence[QueueSpec]) -> str:
    """Return the objective formula; without its score, the formula of the first queue."""
    if known_priors(family.spec)[0]:
        return objective_formula(family.spec, family.units)
    return queues[0].score


def _queue(text: str) -> QueueSpec:
    name, equals, formula = text.partition("=")
    if not (name and equals and formula):
        raise argparse.ArgumentTypeError(f"must be NAME=FORMULA, not {text!r}")
    return QueueSpec(name.strip(), formula.strip())
