"""Train scorers that see all candidates together: PRM and the FFT context-aware model."""

from __future__ import annotations

from typing import Final

from models.evaluation.truth.method import Fit

FITS: Final[tuple[Fit, ...]] = ()
