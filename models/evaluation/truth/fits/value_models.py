"""Train list value models: SORT, SORT as in the paper, DeGRe's evaluator, and the judge."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Fit

FITS: Final[tuple[Fit, ...]] = ()
