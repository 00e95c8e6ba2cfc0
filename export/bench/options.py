"""The options of `listwright bench`, apart from the benchmark itself, so that reading them needs no PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from models.contract.manifest import Family

_DIM: Final = 128
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
    add("--family", choices=get_args(Family), default="sort-gen", help="what to time (default: %(default)s)")
    add("--dim", type=int, help="model width (default: 128)")
    add("--layers", type=int, help="transformer layers (default: 3; DeGRe: 4 in encoder and decoder each)")
    add("--evaluator-layers", type=int, help="DeGRe: the evaluator's layers (default: 6)")
    add("--queues", type=int, help="SORT-Gen: queues Q (default: 3)")
    add("--head-widths", type=int, nargs="+", metavar="H", help="SORT-Gen: heads (default: 1 2 4 8)")
    add("--beam-width", type=int, metavar="W", help="SORT-Gen: a beam of W lists to time beside (default: 1, none)")
    add("--long", type=int, help="SORT-Gen: the long horizon to time beside L = 10 (default: 50)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the family's defaults. Raises `ValueError` naming an option that it does not have, or one below 1."""
    own = _DEFAULTS[arguments.family]
    for name in sorted({name for options in _DEFAULTS.values() for name in options}):
        if getattr(arguments, name) is None:
            setattr(arguments, name, own.get(name))
        elif name not in own:
            raise ValueError(f"--{name.replace('_', '-')}: --family {arguments.family} has no such option")
    if arguments.dim is None:
        arguments.dim = _DIM
    for name in ("blocks", "runs", "beam_width"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least 1, not {getattr(arguments, name)}")
