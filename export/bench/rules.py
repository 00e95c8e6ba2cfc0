"""Time what one pin and two caps cost the engine: ruled against plain graph.

``python -m export.bench.rules`` runs both families at 10 places, with random weights and interleaved, so that every
ratio is the median over blocks of two neighbours in time (see `engine.interleaved`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tabulate import tabulate

from export.bench.engine import (
    UNITS,
    Run,
    interleaved,
    middle_half,
    pointer_checkpoint,
    value_model,
)
from export.families.degre import Degre
from export.families.family import ModelFamily
from export.families.sort_gen import SortGen
from export.proof.requests import RequestShape, random_request, with_preferences
from export.proof.rules import Item
from models.contract.arrays import Arrays
from models.contract.manifest import Limits
from models.contract.rules.definition import Cap, Pin, Rules
from models.contract.rules.ruling import compile_rules
from models.contract.rules.tensors import GROUPS, rule_tensors
from models.files import write_json
from models.nets.checkpoint import Checkpoint
from models.planners.runtime import GraphPlanner

_LENGTH: Final = 10
_BRANDS: Final = 5
_CATEGORIES: Final = 3
_RULES: Final = Rules(pinned=(Pin("c7", 3),), caps=(Cap("brand", 2, 5), Cap("category", 4)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the figures if asked to."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for name, (family, limits) in _families(options).items():
        contestants = dict(zip(("plain", "ruled"), _pair(family, limits), strict=True))
        rows.append(_row(name, interleaved(contestants, blocks=options.blocks, runs=options.runs)))
    shown = [
        (
            str(row["name"]),
            f"{row['plain_ms']:.3f}",
            f"{row['ruled_ms']:.3f}",
            f"{row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})",
        )
        for row in rows
    ]
    print(tabulate(shown, ("graph", "plain ms", "ruled ms", "ratio (middle half of blocks)"), "pipe"))
    if options.json is not None:
        write_json(options.json, {"blocks": options.blocks, "runs": options.runs, "rows": rows})
    return 0


def _families(options: argparse.Namespace) -> dict[str, tuple[ModelFamily, Limits]]:
    """Make the models, with the limits of each graph."""
    queues = SortGen(Checkpoint(value_model(options.dim, options.layers, _LENGTH), UNITS))
    pointer = Degre(pointer_checkpoint(options, _LENGTH))
    return {
        "SORT-Gen, h=1": (queues, Limits(_LENGTH, queues=3)),
        "SORT-Gen, h=2, W=4": (queues, Limits(_LENGTH, queues=4, head_width=2, beam_width=4)),
        "DeGRe, 100 candidates": (pointer, Limits(_LENGTH, queues=1, queue_length=100)),
    }


def _pair(family: ModelFamily, limits: Limits) -> tuple[Run, Run]:
    """Return runs of the plain graph and of the ruled one, on one request."""
    shape = RequestShape(full=True)
    request = with_preferences(random_request(family.spec, limits, 0, shape), (1.0, 0.0, 0.0), 0.8, 4)
    ruled_request = request | _tensors(limits)
    plain, ruled = (GraphPlanner(family.graph(limits, groups=groups).build({})) for groups in (0, GROUPS))
    return lambda: plain(request), lambda: ruled(ruled_request)


def _tensors(limits: Limits) -> Arrays:
    """Compile one pin and two caps for as many candidates as there are slots."""
    items = [
        Item(f"c{i}", {"brand": f"b{i % _BRANDS}", "category": f"k{i % _CATEGORIES}"}, None)
        for i in range(limits.slots)
    ]
    ruling = compile_rules(items, _RULES, top_n=limits.list_length)
    tensors = rule_tensors(ruling, np.arange(limits.slots), length=limits.list_length, groups=GROUPS)
    return {name: array[None] for name, array in tensors.items()}


def _row(name: str, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return medians in milliseconds, and the ratio of neighbours in time with its middle half."""
    plain, ruled = (np.array(seconds[kind]) for kind in ("plain", "ruled"))
    low, middle, high = middle_half(ruled / plain)
    medians = {f"{kind}_ms": float(np.median(seconds[kind])) * 1e3 for kind in ("plain", "ruled")}
    return {"name": name, **medians, "ratio": middle, "ratio_low": low, "ratio_high": high}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.bench.rules", description=__doc__)
    add = parser.add_argument
    add("--dim", type=int, default=128, help="width of the models (default: %(default)s)")
    add("--layers", type=int, default=3, help="layers of value model and generator (default: %(default)s)")
    add("--evaluator-layers", type=int, default=6, help="layers of DeGRe's evaluator (default: %(default)s)")
    add("--blocks", type=int, default=40, help="interleaved blocks (default: %(default)s)")
    add("--runs", type=int, default=20, help="runs per graph and block (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
