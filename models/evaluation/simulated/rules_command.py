"""Compare caps inside the selection with caps on the finished list, on true values.

The data is a list file of the simulator. Both keep the caps; what differs is when. Repair takes the plain graph's list
in its order, leaves out what a cap bars, and fills up by the formula sort, as an engine of rules behind a model does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.contract.rules.definition import Cap, Rules
from models.data.outputs import require_other_output
from models.evaluation.simulated.command import read_cases
from models.evaluation.simulated.comparison import SimulatedCase, true_values
from models.evaluation.simulated.ruled_lists import RuledPlanner
from models.evaluation.tables import markdown_table
from models.files import write_json
from models.judging.metrics import paired_interval
from models.nets.checkpoint import (
    GENERATOR_KIND,
    Checkpoint,
    GeneratorCheckpoint,
    checkpoint_kind,
    load_checkpoint,
    load_generator_checkpoint,
)
from models.options import check_at_least, parse_seed, parse_weights
from models.planners.references.sort_gen import Preferences
from models.planners.worth import triple_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file of `listwright data simulator`")
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="value model, or generator, trained on it")
    add("--length", type=int, required=True, metavar="M", help="positions to fill")
    add("--requests", type=int, default=300, help="test requests to plan for (default: %(default)s)")
    add("--by", default="category", help="item feature that the cap counts (default: %(default)s)")
    add(
        "--caps",
        type=_caps,
        default=((3, None), (2, None), (1, 4)),
        metavar="K[/W],…",
        help="most of a group in the list, or in any W consecutive positions (default: 3,2,1/4)",
    )
    add(
        "--head-width", type=int, default=2, metavar="H", help="heads per queue of a value model (default: %(default)s)"
    )
    add("--beam-width", type=int, default=4, metavar="W", help="lists held at each step by it (default: %(default)s)")
    add("--objectives", type=parse_weights, default=(5.0, 1.0, 1.0), metavar="A,B,G", help="α,β,γ (default: 5,1,1)")
    add("--seed", type=parse_seed, default=0, help="seed of the bootstrap (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def run(arguments: argparse.Namespace) -> int:
    """Plan, value, print the table."""
    check_at_least(arguments, requests=1, length=1, head_width=1, beam_width=1)
    require_other_output("--json", arguments.json, arguments.data, arguments.checkpoint)
    checkpoint = _load(arguments.checkpoint)
    cases = read_cases(arguments.data, arguments.length, arguments.requests)
    preferences = Preferences(arguments.objectives, triple_of(checkpoint.units))
    sizes = {"head_width": arguments.head_width, "beam_width": arguments.beam_width}
    planner = RuledPlanner.of(checkpoint, arguments.length, **sizes)
    rows = [
        compare_cap(planner, cases, Cap(arguments.by, limit, window), preferences, arguments.seed)
        for limit, window in arguments.caps
    ]
    print(f"requests: {len(cases)}\n\n{_table(rows)}")
    if arguments.json is not None:
        write_json(arguments.json, {"requests": len(cases), "length": arguments.length, "rows": rows})
    return 0


def compare_cap(
    planner: RuledPlanner, cases: Sequence[SimulatedCase], cap: Cap, preferences: Preferences, seed: int
) -> dict[str, Any]:
    """Compute the mean true values under one cap.

    ``gain`` is their paired difference as a share of the repaired lists' value.
    """
    records = [case.record for case in cases]
    rules = Rules(caps=(cap,))
    inside, repaired = (plan(records, rules, preferences) for plan in (planner.inside, planner.repaired))
    free = planner.inside(records, Rules(), preferences)
    worth = [preferences.step_value(true_values(cases, found.lists)) for found in (inside, repaired, free)]
    gain = paired_interval(worth[0], worth[1], seed=seed)
    base = float(worth[1].mean())
    return {
        "cap": asdict(cap),
        "inside": float(worth[0].mean()),
        "repaired": base,
        "without": float(worth[2].mean()),
        "gain": gain.mean / base,
        "gain_low": gain.low / base,
        "gain_high": gain.high / base,
        "changed": float(np.any(free.lists != repaired.lists, axis=1).mean()),
        "ended_early": inside.ended_early / len(cases),
    }


def _load(path: Path) -> Checkpoint | GeneratorCheckpoint:
    """Load a value model or a generator."""
    return load_generator_checkpoint(path) if checkpoint_kind(path) == GENERATOR_KIND else load_checkpoint(path)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    heads = [
        "cap",
        "lists it changes",
        "repaired",
        "inside",
        "inside vs repaired (95% interval)",
        "without a cap",
        "ended early",
    ]
    cells = [
        [
            f"{row['cap']['limit']} of a {row['cap']['by']}"
            + (f" in {row['cap']['window']}" if row["cap"]["window"] else ""),
            f"{row['changed']:.0%}",
            f"{row['repaired']:.3f}",
            f"{row['inside']:.3f}",
            f"{row['gain']:+.1%} ({row['gain_low']:+.1%} to {row['gain_high']:+.1%})",
            f"{row['without']:.3f}",
            f"{row['ended_early']:.1%}",
        ]
        for row in rows
    ]
    return markdown_table(heads, cells)


def _caps(text: str) -> tuple[tuple[int, int | None], ...]:
    """Read limits and windows."""
    caps: list[tuple[int, int | None]] = []
    for part in text.split(","):
        limit, slash, window = part.partition("/")
        if not all(n.isascii() and n.isdigit() and int(n) for n in (limit, *([window] if slash else []))):
            raise argparse.ArgumentTypeError(f"must be limits, or limits and windows as in 1/4, not {text!r}")
        caps.append((int(limit), int(window) if slash else None))
    return tuple(caps)
