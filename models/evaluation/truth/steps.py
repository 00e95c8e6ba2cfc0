"""Make the steps of the truth experiment: logs, fits, and lists of methods.

A process keeps the logs of the point that it read last, since most of its next steps need the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.contract.arrays import Ints
from models.data.list_writer import write_lists
from models.evaluation.steps import ExperimentStep
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.choosing import choose
from models.evaluation.truth.logs import point_logs
from models.evaluation.truth.method import Fit, FitContext, Method, PlanContext, Setting
from models.evaluation.truth.paths import (
    CHOICE_FILE,
    DATA_FILE,
    LISTS_FILE,
    data_file,
    data_step,
    fit_step,
    method_step,
)
from models.evaluation.truth.points import Plan, Point, points_of
from models.evaluation.truth.profile import Profile
from models.evaluation.truth.registry import FITS, METHODS, fits_behind
from models.files import file_digest, whole_file, write_json
from models.planners.references.sort_gen import Preferences

GROUPS: Final = ("data", "fits", "methods", "report")
"""What ``--steps`` selects by; the report is written behind all steps."""
JUDGE: Final = "judge"
"""The fit that chooses the settings of methods that have several."""


def all_steps(
    root: Path, profile: Profile, fits: Mapping[str, Fit] = FITS, methods: Mapping[str, Method] = METHODS
) -> list[ExperimentStep]:
    """List every step of an experiment, the tables' world first. Raises `ValueError` for unknown names."""
    return [
        step
        for point in points_of(profile, methods)
        for step in _PointSteps(root, replace(profile, world=point.world), point, fits, methods).every()
    ]


@dataclass(frozen=True)
class _PointSteps:
    """Make the steps of one point, with the profile in its world."""

    root: Path
    profile: Profile
    point: Point
    fits: Mapping[str, Fit]
    methods: Mapping[str, Method]

    def every(self) -> list[ExperimentStep]:
        """List all steps, each behind those it needs, one seed after another."""
        steps = {data_step(self.point.name): self._data()}
        for plan in self.point.plans(self.methods):
            for fit in self._behind(self.methods[plan.method]):
                seed = self._seed(fit, plan.seed)
                steps.setdefault(fit_step(self.point.name, fit.name, seed), self._fit(fit, seed))
            step = self._method(plan)
            steps[step.name] = step
        return list(steps.values())

    def _data(self) -> ExperimentStep:
        world, folder = self.point.world, data_step(self.point.name)
        requests = max(self.profile.requests, self.profile.valid_requests)

        def run(folder: Path) -> Mapping[str, Any]:
            logs = point_logs(world, requests)
            count = write_lists(folder / DATA_FILE, logs.records, logs.metadata)
            return {"lists": count, "sha256": file_digest(folder / DATA_FILE)}

        return ExperimentStep(folder, "data", {**self._world(), "requests": requests}, run)

    def _fit(self, fit: Fit, seed: int) -> ExperimentStep:
        needs = self._folders(fit.needs, seed)

        def run(folder: Path) -> Mapping[str, Any]:
            return fit.run(FitContext(self._bench(), self.profile, folder, needs, seed))

        options = {
            **self._world(),
            **self._fit_options([fit, *fits_behind(fit.name, fit.needs, self.fits)]),
            "seed": seed,
        }
        name = fit_step(self.point.name, fit.name, seed)
        return ExperimentStep(name, "fits", options, run, self._needs(fit.needs, seed))

    def _method(self, plan: Plan) -> ExperimentStep:
        method = self.methods[plan.method]
        needs, judged = self._folders(method.needs, plan.seed), len(method.settings) > 1

        def run(folder: Path) -> Mapping[str, Any]:
            bench = self._bench()
            preferences = Preferences(self.point.mixes[plan.mix], bench.units)
            context = PlanContext(bench, self.profile, needs, preferences, plan.seed)
            setting: Setting = method.settings[0]
            if judged:
                choice = choose(method, context, self._folders([JUDGE], plan.seed)[JUDGE])
                setting = choice.setting
                write_json(folder / CHOICE_FILE, asdict(choice))
            lists = method.plan(context, bench.test, setting)
            save_lists(folder / LISTS_FILE, lists, bench)
            return {"requests": len(lists), "setting": setting}

        options = {
            **self._world(),
            **self._fit_options(self._behind(method)),
            **self._sizes("requests", "beam"),
            **({**self._sizes("valid_requests"), "settings": method.settings} if judged else {}),
            "weights": self.point.mixes[plan.mix],
            "seed": plan.seed,
        }
        name = method_step(self.point.name, plan.method, plan.mix, plan.seed)
        return ExperimentStep(name, "methods", options, run, self._needs(self._wanted(method), plan.seed))

    def _wanted(self, method: Method) -> tuple[str, ...]:
        """Name the fits that a method needs, with the judge where it must choose."""
        return tuple(dict.fromkeys([*method.needs, *([JUDGE] if len(method.settings) > 1 else [])]))

    def _behind(self, method: Method) -> list[Fit]:
        return fits_behind(method.name, self._wanted(method), self.fits)

    def _seed(self, fit: Fit, seed: int) -> int:
        return seed if fit.seeded else 0

    def _needs(self, names: Iterable[str], seed: int) -> tuple[str, ...]:
        steps = (fit_step(self.point.name, name, self._seed(self.fits[name], seed)) for name in names)
        return (data_step(self.point.name), *steps)

    def _folders(self, names: Iterable[str], seed: int) -> dict[str, Path]:
        seeds = {name: self._seed(self.fits[name], seed) for name in names}
        return {name: self.root / fit_step(self.point.name, name, seed) for name, seed in seeds.items()}

    def _world(self) -> dict[str, Any]:
        return {f"world.{key}": value for key, value in asdict(self.point.world).items()}

    def _fit_options(self, fits: Iterable[Fit]) -> dict[str, Any]:
        return {f"{fit.name}.{key}": value for fit in fits for key, value in fit.options(self.profile).items()}

    def _sizes(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self.profile, name) for name in names}

    def _bench(self) -> Bench:
        return bench_of(self.root, self.profile, self.point)


def bench_of(root: Path, profile: Profile, point: Point) -> Bench:
    """Return the bench of a point whose logs are written."""
    return _bench(data_file(root, point.name), point.world.length, profile.requests, profile.valid_requests)


def save_lists(path: Path, lists: Ints, bench: Bench) -> None:
    """Save a method's lists of the test requests.

    Raises `ValueError` naming a request whose list is none of its candidates.
    """
    records = bench.test
    if lists.shape != (len(records), bench.length):
        raise ValueError(f"lists are of shape {lists.shape}, not {(len(records), bench.length)}")
    for record, chosen in zip(records, lists.tolist(), strict=True):
        if len(set(chosen)) < len(chosen) or not all(0 <= item < len(record.candidates) for item in chosen):
            raise ValueError(f"list of request {record.request_id}: {chosen} are not candidates, each once")
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, lists.astype(np.int64), allow_pickle=False)


@lru_cache(maxsize=1)
def _bench(file: Path, length: int, requests: int, valid_requests: int) -> Bench:
    return Bench(file.parent, file, length, requests, valid_requests, torch.device("cpu"))
