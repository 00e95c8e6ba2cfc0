"""Compare planners and value models on a simulated list file, where the truth is known.

The product's own graph, with its queues, at every head width and beam width asked for, beside the same searches under
true values; several checkpoints (seeds) are pooled by their mean.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from models.baselines.scorers.pointwise import fit_pointwise
from models.data.list_file import read_lists, read_metadata
from models.data.outputs import require_other_output
from models.datasets.simulator import Simulator, SimulatorConfig
from models.evaluation.simulated.comparison import (
    PlannerComparison,
    Searches,
    SimulatedCase,
    gain_pairs,
    in_units,
    served_name,
)
from models.evaluation.simulated.report import (
    gain_ratios,
    learning_curve_table,
    mmr_rows,
    mmr_table,
    ratio_table,
    summarise,
    value_table,
)
from models.files import write_json
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.options import check_at_least, parse_seed, parse_weights


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file of `listwright data simulator`")
    add(
        "--checkpoint",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="value models trained on it; several of one configuration (seeds) are pooled by their mean",
    )
    add("--length", type=int, required=True, metavar="M", help="positions to fill")
    add("--requests", type=int, default=300, help="test requests to plan for (default: %(default)s)")
    add("--head-widths", type=_ints, default=(1, 2, 4), metavar="H,…", help="heads per queue (default: 1,2,4)")
    add("--beam-widths", type=_ints, default=(1, 8), metavar="W,…", help="lists held at each step (default: 1,8)")
    add("--objectives", type=parse_weights, default=(5.0, 1.0, 1.0), metavar="A,B,G", help="α,β,γ (default: 5,1,1)")
    add("--trade-offs", type=_trade_offs, default=(), metavar="LAMBDA,…", help="also tell what MMR does at these λ")
    add("--no-pointwise", action="store_true", help="leave out the pointwise model fitted to the same logs")
    add(
        "--learning-curve",
        action="store_true",
        help="the checkpoints differ in the number of training lists: pool those of one number only, a line for each",
    )
    add(
        "--seed",
        type=parse_seed,
        default=0,
        help="seed of the pointwise model and the bootstrap (default: %(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def run(arguments: argparse.Namespace) -> int:
    """Plan, value, print the tables."""
    check_at_least(arguments, requests=1, length=1)
    require_other_output("--json", arguments.json, arguments.data, *arguments.checkpoint)
    checkpoints = [load_checkpoint(path) for path in arguments.checkpoint]
    check_alike(arguments.checkpoint, checkpoints)
    cases = read_cases(arguments.data, arguments.length, arguments.requests)
    preferences = in_units(arguments.objectives, checkpoints[0])
    searches = Searches(arguments.head_widths, arguments.beam_widths)
    pointwise = None
    if not arguments.no_pointwise:
        train = list(read_lists(arguments.data, "train"))
        pointwise = fit_pointwise(train, checkpoints[0].spec, seed=arguments.seed)
    comparison = PlannerComparison.of(cases, checkpoints[0], arguments.objectives, searches, pointwise)
    figures, text = (_learning_curve if arguments.learning_curve else _pooled)(comparison, checkpoints, arguments.seed)
    report: dict[str, Any] = {
        "requests": len(cases),
        "candidates": max(len(case.record.candidates) for case in cases),
        "length": arguments.length,
        "model": describe(checkpoints[0]),
        "checkpoints": len(checkpoints),
        "preferences": asdict(preferences),
        **figures,
    }
    print(f"{report['model']}; checkpoints: {len(checkpoints)}; requests: {len(cases)}\n\n{text}")
    if arguments.trade_offs:
        width = max(arguments.head_widths)
        report["mmr"] = mmr_rows(checkpoints[0], cases, preferences, arguments.trade_offs, width)
        print(f"\nMMR at h={width}, window {preferences.window}\n\n{mmr_table(report['mmr'])}")
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def read_cases(data: Path, length: int, requests: int) -> list[SimulatedCase]:
    """Read the first `requests` test requests of a simulated file.

    Raises `ValueError` if there are none.
    """
    simulator = Simulator(SimulatorConfig.from_metadata(read_metadata(data)))
    cases: list[SimulatedCase] = []
    for record in islice(read_lists(data, "test"), requests):
        if len(record.candidates) < length:
            raise ValueError(f"--length: {length} is more than the {len(record.candidates)} candidates of a request")
        cases.append(SimulatedCase(record, length, partial(simulator.list_value, simulator.find(record.request_id))))
    if not cases:
        raise ValueError(f"{data}: has no test lists")
    return cases


def check_alike(paths: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> None:
    """Raise `ValueError` naming a checkpoint of another configuration than the first."""
    for path, checkpoint in zip(paths, checkpoints, strict=True):
        if checkpoint.config != checkpoints[0].config:
            raise ValueError(f"--checkpoint: {path} has another configuration than {paths[0]}; evaluate them apart")


def describe(checkpoint: Checkpoint) -> str:
    """Describe the kind of value model in a few words."""
    config = checkpoint.config
    if config.head != "hazard":
        return "as in the papers (independent thresholds)" if config.head == "independent" else f"head {config.head}"
    return f"hazards of {config.states} states, list context: {config.context}"


def _pooled(comparison: PlannerComparison, checkpoints: Sequence[Checkpoint], seed: int) -> tuple[dict[str, Any], str]:
    """Compute the figures of all checkpoints together, and their tables."""
    values = comparison.values(checkpoints)
    preferences = in_units(comparison.weights, checkpoints[0])
    rows = summarise(values, preferences, seed)
    ratios = gain_ratios(values, gain_pairs(comparison.searches), preferences, seed)
    return {"rows": rows, "ratios": ratios}, f"{value_table(rows)}\n\n{ratio_table(ratios)}"


def _learning_curve(
    comparison: PlannerComparison, checkpoints: Sequence[Checkpoint], seed: int
) -> tuple[dict[str, Any], str]:
    """Compute the figures by the number of training lists, and their table."""
    groups: dict[int, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        groups.setdefault(_training_lists(checkpoint), []).append(checkpoint)
    preferences = in_units(comparison.weights, checkpoints[0])
    points = {lists: summarise(comparison.values(group), preferences, seed) for lists, group in sorted(groups.items())}
    table = learning_curve_table(points, [served_name(*pair) for pair in comparison.searches.pairs])
    return {"learning_curve": [{"lists": lists, "rows": rows} for lists, rows in points.items()]}, table


def _training_lists(checkpoint: Checkpoint) -> int:
    lists = checkpoint.provenance.get("lists", {}).get("train")
    if not isinstance(lists, int):
        raise ValueError("--learning-curve: a checkpoint does not say how many lists it was trained on")
    return lists


def _ints(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be whole numbers of at least 1, not {text!r}")
    return tuple(dict.fromkeys(map(int, parts)))


def _trade_offs(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(0 <= number <= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"must be numbers within 0..1, not {text!r}")
    return numbers
