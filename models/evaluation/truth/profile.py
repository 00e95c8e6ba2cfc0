"""Read the sizes of the truth experiment from a TOML file.

A profile names the world, the sizes of everything that is trained, the rows of each table and the sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PROFILES: Final = ("medium", "quick", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSizes:
    """Say which world logs are drawn from, and how many: the knobs of `listwright data simulator`."""

    kappa: float = 1.0
    candidates: int = 20
    length: int = 10
    lists: int = 125_000
    exploration: float = 0.3
    prior_noise: float = 0.4
    price_spread: float = 0.7
    seed: int = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Hold the sizes of an experiment; see the comments of ``profiles/medium.toml`` for each."""

    name: str = "medium"
    world: WorldSizes = field(default_factory=WorldSizes)
    requests: int = 500
    valid_requests: int = 300
    seeds: int = 3
    value_dim: int = 64
    value_layers: int = 2
    value_epochs: int = 10
    scorer_requests: int = 100_000
    scorer_valid_requests: int = 5_000
    scorer_epochs: int = 4
    generator_requests: int = 10_000
    generator_valid_requests: int = 500
    generator_epochs: int = 4
    generator_rounds: int = 4
    group_drawn: int = 6
    group_bases: int = 1
    distill_epochs: int = 3
    beam: int = 8
    objectives: tuple[float, float, float] = (5.0, 1.0, 1.0)
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sweeps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sweep_methods: tuple[str, ...] = ()
    sweep_seeds: int = 1
    weights: tuple[tuple[float, float, float], ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the sizes as plain JSON."""
        raise NotImplementedError
