"""Train the value models of the ablations, each without one part of the default."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Fit

FITS: Final[tuple[Fit, ...]] = ()
