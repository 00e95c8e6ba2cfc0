"""List the points of the experiment: the world of the tables, and worlds that differ in one knob.

A point has logs of its own, fits of its own, and a folder. The lists of several objective mixes share its fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.evaluation.truth.profile import Profile, WorldSizes
from models.options import Weights

MAIN: Final = "main"


@dataclass(frozen=True, slots=True)
class Point:
    """Name a world, the methods that plan in it, their objective mixes and the number of seeds.

    `knob` and `value` say in what it differs from the world of the tables (None: in nothing).
    """

    name: str
    world: WorldSizes
    methods: tuple[str, ...]
    mixes: tuple[Weights, ...]
    seeds: int
    knob: str | None = None
    value: float | None = None


def points_of(profile: Profile) -> Sequence[Point]:
    """List the points of a profile, the tables' first. Raises `ValueError` for an unknown method or knob."""
    raise NotImplementedError
