"""Train generators by an evaluator: GoalRank, NAR4Rec, GReF, NLGR-G, and DeGRe by mining."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Fit

FITS: Final[tuple[Fit, ...]] = ()
