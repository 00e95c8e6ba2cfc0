"""Time the generation graphs of a family with random weights: ``listwright bench``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from models.contract.manifest import Family

_DEFAULTS: Final[Mapping[Family, Mapping[str, Any]]] = {
    "sort-gen": {"layers": 3, "queues": 3, "head_widths": [1, 2, 4, 8], "beam_width": 1, "long": 50},
    "degre": {"layers": 4, "evaluator_layers": 6},
}
"""The options of a family beside those that all have."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--blocks", type=int, default=40, help="interleaved blocks (default: %(default)s)")
    add("--runs", type=int, default=25, help="runs per block and contestant (default: %(default)s)")
    add("--family", choices=get_args(Family), default="sort-gen", help="model family to time (default: %(default)s)")
    add("--dim", type=int, default=128, help="model width (default: %(default)s)")
    add("--layers", type=int, help="transformer layers (default: 3; DeGRe: 4 in encoder and decoder each)")
    add("--evaluator-layers", type=int, help="DeGRe: the evaluator's layers (default: 6)")
    add("--queues", type=int, help="SORT-Gen: queues Q (default: 3)")
    add("--head-widths", type=int, nargs="+", metavar="H", help="SORT-Gen: heads (default: 1 2 4 8)")
    add("--beam-width", type=int, metavar="W", help="SORT-Gen: a beam of W lists to time beside (default: 1, none)")
    add("--long", type=int, help="SORT-Gen: the long horizon to time beside L = 10 (default: 50)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def run(arguments: argparse.Namespace) -> int:
    """Time and print Markdown. Raises `ValueError` naming a wrong option, `ModuleNotFoundError` without PyTorch."""
    _complete(arguments)
    from export.bench import engine

    return engine.run(arguments)


def _complete(arguments: argparse.Namespace) -> None:
    """Fill in the family's defaults. Raises `ValueError` naming a foreign or bad option."""
    own = _DEFAULTS[arguments.family]
    for name in sorted({name for options in _DEFAULTS.values() for name in options}):
        if getattr(arguments, name) is None:
            setattr(arguments, name, own.get(name))
        elif name not in own:
            raise ValueError(f"--{name.replace('_', '-')}: --family {arguments.family} has no such option")
    for name in ("blocks", "runs", "beam_width"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least 1, not {getattr(arguments, name)}")
