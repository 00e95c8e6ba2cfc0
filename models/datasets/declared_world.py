"""Declare the world that all methods are compared in.

It was fixed by true values alone, before any trained method ran in it; docs/world.md says why each number is what it
is. Later tables may vary one knob, and never the declaration.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from models.datasets.simulator_config import SimulatorConfig

WEAK: Final = 0.25
MEDIUM: Final = 0.5
STRONG: Final = 1.0
"""Context strengths κ: beam search with true values is worth about 13%, 30% and 75% more than the sort by formula."""

LENGTH: Final = 10
"""Places of a list."""

EXPLORATION: Final = 0.3
"""The share of places that the logging policy fills at random."""

WEIGHTS: Final = (5.0, 1.0, 1.0)
"""α, β, γ: the weights of clicks, conversions and GMV, each in units of its mean per shown place."""

DECLARED: Final = SimulatorConfig(
    kappa=MEDIUM,
    candidates=20,
    brands=40,
    click_anchoring=0.5,
    ctr_slope=0.8,
    ctr_shift=-0.3,
    cvr_slope=1.25,
    cvr_shift=0.6,
)
"""The world at medium context strength; what is not named here has the default of `SimulatorConfig`."""


def declared_world(**knobs: Any) -> SimulatorConfig:
    """Return the declared world, with other values for the `knobs` named.

    Raises `TypeError` for a knob that no world has, and `ValueError` for a value out of its range.
    """
    return dataclasses.replace(DECLARED, **knobs)
