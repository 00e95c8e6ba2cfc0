"""Define a row of the tables: a method that plans lists, and its fits.

A *fit* trains one thing on the logs of a world, in a folder of its own. A *method* plans the lists of requests with
the fits that it needs. A method may have a *setting* to be chosen (λ of MMR, θ of a DPP): the same number of values is
tried for each, on validation requests, and the judge, a value model fitted to the same logs with another seed,
chooses. No method and no choice sees a true value.

Axis letters: n requests, m places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.profile import Profile, WorldSizes
from models.planners.references.sort_gen import Preferences

TRIED: Final = 8
"""Values that are tried of a method's setting, at most: every method with a setting has as many."""

GROUPS: Final = ("base", "rivals", "ours", "ceilings", "ablations", "grid")
"""Groups of methods."""

Setting = float | str | None


@dataclass(frozen=True)
class FitContext:
    """Hold what a fit may use.

    `folder` is its own, empty or begun; `needs` are the folders of the fits that it needs.
    """

    bench: Bench
    profile: Profile
    folder: Path
    needs: Mapping[str, Path]
    seed: int


@dataclass(frozen=True)
class Fit:
    """Train one thing: `run` fills its folder and returns notes (plain JSON).

    `needs` names fits that come first. `options` says all that the result depends on beside the world and the seed.
    """

    name: str
    run: Callable[[FitContext], Mapping[str, Any]]
    options: Callable[[Profile], Mapping[str, Any]] = lambda _: {}
    needs: tuple[str, ...] = ()
    seeded: bool = True


@dataclass(frozen=True)
class PlanContext:
    """Hold what a method may use.

    `needs` are the folders of the fits that it needs.
    """

    bench: Bench
    profile: Profile
    needs: Mapping[str, Path]
    preferences: Preferences
    seed: int


Plan = Callable[[PlanContext, Sequence[ListRecord], Setting], Ints]
"""Plan lists [n, m] of candidate indices for records, under one value of the method's setting."""


@dataclass(frozen=True)
class Method:
    """Describe a row: `name` in files, `title` in tables, `group` among `GROUPS`.

    `settings` are the values to choose from, one for a method that has nothing to choose. `seeded` tells whether the
    seed changes its lists. `cheating` methods know true values: ceilings, never compared as rivals. `possible` tells
    in which worlds the method can plan at all.
    """

    name: str
    title: str
    group: str
    plan: Plan
    needs: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = (None,)
    seeded: bool = True
    cheating: bool = False
    possible: Callable[[WorldSizes], bool] = lambda _: True

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"{self.name}: group {self.group!r} is not among {', '.join(GROUPS)}")
        if not 1 <= len(self.settings) <= TRIED:
            raise ValueError(f"{self.name}: must have 1 to {TRIED} settings, not {len(self.settings)}")
