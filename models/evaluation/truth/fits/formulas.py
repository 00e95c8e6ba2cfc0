"""Search the exponents of formulas over prior scores: Pareto-efficient formulas."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Fit

FITS: Final[tuple[Fit, ...]] = ()
