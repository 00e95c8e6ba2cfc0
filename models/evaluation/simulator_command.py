"""Compare planners and value models on a simulated list file, where the true value of every list is known."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, load_checkpoint
from models.commands.options import parse_weights
from models.datasets.simulator import Simulator, SimulatorConfig
from models.evaluation.simulated import Case, Floats, planners, preparer, run_planners
from models.files import write_json
from models.lists import read_lists, read_metadata
from models.metrics import mean_interval, paired_interval
from models.planners.queues import queue_graph
from models.planners.reference import Preferences
from models.planners.runtime import GraphPlanner
from models.pointwise import fit_pointwise
from models.spec import OBJECTIVES

BASELINE = "formula sort, prior scores"
OPTIMUM = "true value, exhaustive"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file of `listwright data simulator`")
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="value model trained on it")
    add("--length", type=int, required=True, metavar="M", help="positions to fill")
    add("--requests", type=int, default=300, help="test requests to plan for (default: %(default)s)")
    add("--head-widths", type=_ints, default=(1, 2, 4, 8), metavar="H,…", help="heads per queue (default: 1,2,4,8)")
    add("--objectives", type=parse_weights, default=(5.0, 1.0, 1.0), metavar="A,B,G", help="α,β,γ (default: 5,1,1)")
    add("--trade-offs", type=_trade_offs, default=(), metavar="LAMBDA,…", help="also tell what MMR does at these λ")
    add("--no-pointwise", action="store_true", help="leave out the pointwise model fitted to the same logs")
    add("--seed", type=int, default=0, help="seed of the pointwise model and the bootstrap (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def run(arguments: argparse.Namespace) -> int:
    """Plan, value, print the tables."""
    if arguments.requests < 1:
        raise ValueError(f"--requests: must be at least 1, not {arguments.requests}")
    if arguments.length < 1:
        raise ValueError(f"--length: must be at least 1, not {arguments.length}")
    checkpoint = load_checkpoint(arguments.checkpoint)
    cases = read_cases(arguments.data, arguments.length, arguments.requests)
    units = checkpoint.units
    alpha, beta, gamma = arguments.objectives
    preferences = Preferences((alpha, beta, gamma), (units["click"], units["conversion"], units["gmv"]))
    pointwise = None
    if not arguments.no_pointwise:
        pointwise = fit_pointwise(list(read_lists(arguments.data, "train")), checkpoint.spec, seed=arguments.seed)
    candidates = len(cases[0].record.candidates)
    rows = planners(checkpoint, arguments.length, arguments.head_widths, pointwise, candidates)
    values, random = run_planners(cases, rows, preferences)
    report: dict[str, Any] = {
        "requests": len(cases),
        "candidates": candidates,
        "length": arguments.length,
        "preferences": asdict(preferences),
        "rows": summarise(values, random, preferences, arguments.seed),
    }
    print(value_table(report["rows"]))
    if arguments.trade_offs:
        width = max(arguments.head_widths)
        report["mmr"] = mmr_rows(checkpoint, cases, preferences, arguments.trade_offs, width)
        print(f"\nMMR at h={width}, window {preferences.window}\n\n{mmr_table(report['mmr'])}")
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def read_cases(data: Path, length: int, requests: int) -> list[Case]:
    """The first `requests` test requests of a simulated list file. Raises `ValueError` if there are none."""
    simulator = Simulator(SimulatorConfig.from_metadata(read_metadata(data)))
    cases: list[Case] = []
    for record in read_lists(data, "test"):
        if len(cases) == requests:
            break
        if len(record.candidates) < length:
            raise ValueError(f"--length: {length} is more than the {len(record.candidates)} candidates of a request")
        cases.append(Case(record, simulator.find(record.request_id), simulator, length))
    if not cases:
        raise ValueError(f"{data}: has no test lists")
    return cases


def summarise(
    values: Mapping[str, Floats], random: Floats, preferences: Preferences, seed: int
) -> list[dict[str, Any]]:
    """One entry a planner: true outcomes per list, list value, its paired difference to the baseline, optimality."""
    base, floor = preferences.step_value(values[BASELINE]), preferences.step_value(random)
    best = preferences.step_value(values[OPTIMUM]) if OPTIMUM in values else None
    rows = []
    for name, outcome in {"random": random, **values}.items():
        worth = preferences.step_value(outcome)
        gain = paired_interval(worth, base, seed=seed)
        row: dict[str, Any] = {"planner": name, "value": mean_interval(worth, seed=seed).mean}
        row |= dict(zip(OBJECTIVES, outcome.mean(axis=0).tolist(), strict=True))
        row |= {
            "gain": gain.mean / base.mean(),
            "gain_low": gain.low / base.mean(),
            "gain_high": gain.high / base.mean(),
        }
        if best is not None:
            row["optimality"] = float((worth - floor).mean() / (best - floor).mean())
        rows.append(row)
    return rows


def value_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the figures of `summarise`."""
    lines = [
        "| planner | list value | vs formula sort (95% interval) | optimality | clicks | conversions | GMV |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        gain = f"{row['gain']:+.1%} ({row['gain_low']:+.1%} to {row['gain_high']:+.1%})"
        optimality = f"{row['optimality']:.3f}" if "optimality" in row else "–"
        outcome = f"{row['click']:.4f} | {row['conversion']:.4f} | {row['gmv']:.3f}"
        lines.append(f"| {row['planner']} | {row['value']:.3f} | {gain} | {optimality} | {outcome} |")
    return "\n".join(lines)


def mmr_rows(
    checkpoint: Checkpoint, cases: Sequence[Case], preferences: Preferences, trade_offs: Sequence[float], width: int
) -> list[dict[str, float]]:
    """Per λ: how much of the lists MMR changes against λ = 1, their true value and mean pairwise cosine."""
    prepare = preparer(checkpoint, cases[0].length, width)
    graph = GraphPlanner(queue_graph(checkpoint.model, prepare.limits, checkpoint.units).build({}))
    plain: list[NDArray[np.int64]] = []
    rows = []
    for trade_off in (1.0, *trade_offs):
        wish = Preferences(preferences.weights, preferences.units, trade_off, preferences.window)
        lists, cosines = [], []
        for case in cases:
            batch, slots = prepare(case.record, wish)
            order = np.asarray(graph(batch)["order"][0], np.int64)
            lists.append(slots[order])
            unit = np.asarray(batch["embeddings"][0], np.float64)[order]
            cosines.append((unit @ unit.T)[np.triu_indices(len(order), 1)].mean())
        plain = plain or lists
        worth = wish.step_value(np.array([c.values(one[None])[0] for c, one in zip(cases, lists, strict=True)]))
        changed = [(a != b).mean() for a, b in zip(lists, plain, strict=True)]
        rows.append(
            {
                "trade_off": trade_off,
                "lists_changed": float(np.mean(np.array(changed) > 0)),
                "positions_changed": float(np.mean(changed)),
                "value": float(worth.mean()),
                "cosine": float(np.mean(cosines)),
            }
        )
    return rows


def mmr_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Markdown: the figures of `mmr_rows`."""
    lines = [
        "| λ | lists changed | positions changed | true list value | mean pairwise cosine |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['trade_off']:g} | {r['lists_changed']:.1%} | {r['positions_changed']:.1%} "
        f"| {r['value']:.3f} | {r['cosine']:.3f} |"
        for r in rows
    ]
    return "\n".join(lines)


def _ints(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be whole numbers of at least 1, not {text!r}")
    return tuple(map(int, parts))


def _trade_offs(text: str) -> tuple[float, ...]:
    if not all(0 <= number <= 1 for number in _floats(text)):
        raise argparse.ArgumentTypeError(f"must be numbers within 0..1, not {text!r}")
    return _floats(text)


def _floats(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"must be finite numbers, not {text!r}")
    return numbers
