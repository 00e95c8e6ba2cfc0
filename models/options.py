"""Command-line values that several commands read."""

from __future__ import annotations

import argparse
import math

from models.contract.spec import OBJECTIVES

Weights = tuple[float, ...]


def parse_weights(text: str) -> Weights:
    """``"5,1,1"`` as α, β, γ. Raises `argparse.ArgumentTypeError`."""
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != len(OBJECTIVES) or any(not 0 <= w < math.inf for w in weights) or not sum(weights):
        raise argparse.ArgumentTypeError(f"must be three numbers of at least 0, not all 0, not {text!r}")
    return weights
