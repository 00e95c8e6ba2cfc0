"""Declare and check command-line options that several commands share."""

from __future__ import annotations

import argparse
import math
from typing import Final

from models.contract.spec import OBJECTIVES

Weights = tuple[float, float, float]
"""α, β, γ: the weights of clicks, conversions and GMV."""

MOST_SEED: Final = 2**31 - 1
"""LightGBM takes no larger seed."""

LIST_FILE: Final = "list file: Parquet, a folder of part files, or a URL of either"


def parse_weights(text: str) -> Weights:
    """Read ``"5,1,1"`` as α, β, γ. Raises `argparse.ArgumentTypeError`."""
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != len(OBJECTIVES) or any(not 0 <= w < math.inf for w in weights) or not sum(weights):
        raise argparse.ArgumentTypeError(f"must be three numbers of at least 0, not all 0, not {text!r}")
    alpha, beta, gamma = weights
    return alpha, beta, gamma


def parse_seed(text: str) -> int:
    """Read a seed that all libraries take which draw by it. Raises `argparse.ArgumentTypeError`."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed <= MOST_SEED:
        raise argparse.ArgumentTypeError(f"must be a whole number within 0 and {MOST_SEED}, not {text!r}")
    return seed


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--device`` and ``--threads``."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: PyTorch's)")


def use_threads(arguments: argparse.Namespace) -> None:
    """Set PyTorch's CPU threads as ``--threads`` asks. Raises `ValueError` for less than 1."""
    check_at_least(arguments, threads=1)
    if arguments.threads is not None:
        import torch  # Most commands that read these options need no torch.

        torch.set_num_threads(arguments.threads)


def check_at_least(arguments: argparse.Namespace, **least: int) -> None:
    """Raise `ValueError` naming an option below its least value; options not given pass."""
    for name, bound in least.items():
        value = getattr(arguments, name, None)
        if value is not None and value < bound:
            raise ValueError(f"--{name.replace('_', '-')}: must be at least {bound}, not {value}")
