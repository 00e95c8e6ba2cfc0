"""Find what the methods of an experiment planned, and say why where there is nothing.

A step that is done counts. One that failed says why; any other was not run yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from models.contract.arrays import Ints
from models.evaluation.steps import FAILURE_FILE, is_done, read_failure, read_marker
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.figures.outcomes import Outcomes, read_lists_file, read_outcomes, value_lists
from models.evaluation.truth.method import Method
from models.evaluation.truth.paths import LISTS_FILE, data_file, data_step, method_step
from models.evaluation.truth.points import LISTS, MAIN, SMALL, TRAIN_SHARE, Point
from models.evaluation.truth.profile import Profile, WorldSizes
from models.files import write_json
from models.planners.references.sort_gen import Preferences
from models.planners.worth import Triple

_KNOBS: Final = tuple(part.name for part in dataclasses.fields(WorldSizes))
UNITS_FILE: Final = "units.json"
NOT_RUN: Final = "not run"
FAILED: Final = "failed"


@dataclass(frozen=True)
class Missing:
    """Say in a word that a method has no lists (`NOT_RUN` or `FAILED`), and why."""

    text: str
    reason: str = ""


@dataclass(frozen=True, eq=False)
class PointResults:
    """Hold the results of one point of an experiment, read when they are asked for."""

    root: Path
    point: Point
    profile: Profile
    methods: Mapping[str, Method]

    @cached_property
    def bench(self) -> Bench:
        """Return the point's logs."""
        file = data_file(self.root, self.point.name)
        sizes = self.profile.requests, self.profile.valid_requests
        return Bench(file.parent, file, self.point.world.length, *sizes, torch.device("cpu"))

    @cached_property
    def units(self) -> Triple:
        """Return the bench's units s_o.

        They are kept in a file, since all training lists are read for them.
        """
        path = self.root / self.point.name / UNITS_FILE
        if not path.is_file():
            write_json(path, {"units": list(self.bench.units)})
        click, conversion, gmv = json.loads(path.read_text("utf-8"))["units"]
        return click, conversion, gmv

    def preferences(self, mix: int = 0) -> Preferences:
        """Return the preferences of an objective mix, in the bench's units."""
        return Preferences(self.point.mixes[mix], self.units)

    def outcomes(self, name: str, mix: int = 0) -> Outcomes | Missing:
        """Read the outcomes of a method's lists, of the seeds that are done."""
        known = self._kept.get((name, mix))
        if known is None:
            known = self._kept[name, mix] = self._read(name, mix)
        return known

    def first_lists(self, name: str) -> Ints | None:
        """Read the lists of a method's first seed and mix; None without any."""
        step = method_step(self.point.name, name, 0, 0)
        if isinstance(self.outcomes(name), Missing) or not is_done(self.root, step):
            return None
        return read_lists_file(self.root / step / LISTS_FILE)

    def setting(self, name: str, mix: int = 0) -> str:
        """Return the chosen values of a method's setting, by seed; empty without choice."""
        if len(self.methods[name].settings) == 1:
            return ""
        markers = (read_marker(self.root, step) for step in self._steps(name, mix).values())
        return ", ".join(_short(marker["notes"].get("setting")) for marker in markers if marker is not None)

    def seeds_done(self, name: str, mix: int = 0) -> tuple[int, int]:
        """Count the seeds that are done, and those that should be."""
        steps = self._steps(name, mix).values()
        return sum(is_done(self.root, step) for step in steps), len(steps)

    @property
    def has_lists(self) -> bool:
        """Tell whether any method's lists are done."""
        return any(self.seeds_done(name)[0] for name in self._known)

    @cached_property
    def _kept(self) -> dict[tuple[str, int], Outcomes | Missing]:
        """Return what was read; to begin with, all lists are valued together.

        That is far faster than one by one.
        """
        steps = (self._steps(name, mix) for name in self._known for mix in range(len(self.point.mixes)))
        done = [self.root / step for some in steps for step in some.values() if is_done(self.root, step)]
        # One file without lists spoils this, and is named where its method is read: then each is valued by itself.
        with contextlib.suppress(ValueError):
            value_lists(done, lambda: self.bench.cases)
        return {}

    @property
    def _known(self) -> list[str]:
        return [name for name in self.point.methods if name in self.methods]

    def _steps(self, name: str, mix: int) -> dict[int, str]:
        seeds = self.point.seeds if self.methods[name].seeded else 1
        return {seed: method_step(self.point.name, name, mix, seed) for seed in range(seeds)}

    def _read(self, name: str, mix: int) -> Outcomes | Missing:
        if name not in self.methods or mix >= len(self.point.mixes):
            return Missing(NOT_RUN)
        steps = self._steps(name, mix)
        done = {seed: self.root / step for seed, step in steps.items() if is_done(self.root, step)}
        if not done:
            return self._why([data_step(self.point.name), *steps.values()])
        try:
            return read_outcomes(done, lambda: self.bench.cases, seeded=self.methods[name].seeded)
        except ValueError as error:
            return Missing(FAILED, str(error))

    def _why(self, steps: Sequence[str]) -> Missing:
        reasons = (read_failure(self.root, step) for step in steps)
        found = next((reason for reason in reasons if reason is not None), None)
        return Missing(NOT_RUN) if found is None else Missing(FAILED, found)


@dataclass(frozen=True, eq=False)
class Results:
    """Hold the results of an experiment, point by point."""

    root: Path
    profile: Profile
    points: Sequence[Point]
    methods: Mapping[str, Method]

    @cached_property
    def by_point(self) -> dict[str, PointResults]:
        """Return each point's results by its name."""
        return {p.name: PointResults(self.root, p, self.profile, self.methods) for p in self.points}

    @property
    def main(self) -> PointResults:
        """Return the results in the world of the tables."""
        return self.by_point[MAIN]

    def sweep(self, knob: str) -> dict[float, PointResults]:
        """Return the results along a knob by its value, in order.

        The world of the tables is among them, once another has lists.
        """
        world = self.main.point.world
        own = round(world.lists * TRAIN_SHARE) if knob == LISTS else getattr(world, knob)
        found = {p.value: self.by_point[p.name] for p in self.points if p.knob == knob and p.value is not None}
        if any(point.has_lists for point in found.values()):
            found = {float(own): self.main, **found}
        return dict(sorted(found.items()))

    @property
    def small(self) -> PointResults | None:
        """Return the results in the world whose requests have few lists, if there are any."""
        return self.by_point.get(SMALL)

    @property
    def knobs(self) -> list[str]:
        """List the knobs of the world that points differ in."""
        return list(dict.fromkeys(p.knob for p in self.points if p.knob in _KNOBS))

    def failures(self) -> list[str]:
        """List the steps that failed, each with the reason in one line."""
        names = sorted(path.parent.relative_to(self.root).as_posix() for path in self.root.rglob(FAILURE_FILE))
        reasons = {name: read_failure(self.root, name) for name in names}
        return [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]


def _short(setting: Any) -> str:
    return f"{setting:g}" if isinstance(setting, float) else str(setting)
