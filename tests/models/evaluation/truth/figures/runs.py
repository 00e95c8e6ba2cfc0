"""A made-up run: small worlds, and lists of methods whose outcomes are known by construction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.contract.arrays import Ints
from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.simulated.comparison import SimulatedCase, true_over_all
from models.evaluation.steps import MARKER, record_failure
from models.evaluation.truth.figures.results import Results
from models.evaluation.truth.method import Method, Setting
from models.evaluation.truth.paths import LISTS_FILE, data_file, data_step, method_step
from models.evaluation.truth.points import MAIN, Point
from models.evaluation.truth.profile import Profile, WorldSizes
from models.planners.references.sort_gen import Preferences

LENGTH, CANDIDATES, REQUESTS = 4, 7, 12
WORLD = WorldSizes(kappa=2.0, candidates=CANDIDATES, length=LENGTH, lists=300)
PROFILE = Profile(name="test", world=WORLD, requests=REQUESTS, valid_requests=4, seeds=2, sweep_methods=("base",))
MIXES = ((5.0, 1.0, 1.0), (1.0, 0.0, 5.0))


def _never(*_: object) -> Ints:
    raise AssertionError("a report plans nothing")


def method(name: str, group: str, *, seeded: bool = True, settings: Sequence[Setting] = (None,)) -> Method:
    return Method(name, name.upper(), group, _never, settings=tuple(settings), seeded=seeded)


METHODS = {
    m.name: m
    for m in (
        method("base", "base", seeded=False),
        method("mmr", "rivals", settings=(0.5, 0.7)),
        method("pointwise", "rivals", seeded=False),
        method("prm", "rivals"),
        method("gref", "rivals"),
        method("sort-gen-paper", "ours"),
        method("sort-gen", "ours"),
        method("sort-gen-beam", "ours"),
        replace(method("true-beam", "ceilings", seeded=False), cheating=True),
        method("without-mmr", "ablations"),
        method("heads-1", "ablations"),
        method("heads-1-beam", "ablations"),
        replace(method("grid-sort-beam", "grid"), title="SORT × beam"),
        replace(method("grid-degre-sort", "grid"), title="DeGRe × sort"),
    )
}
POINT = Point(MAIN, WORLD, tuple(METHODS), MIXES, 2)
SWEPT = ("base", "pointwise", "sort-gen-beam", "true-beam")
FLAT = Point("kappa-0", replace(WORLD, kappa=0.0), SWEPT, MIXES[:1], 1, "kappa", 0.0)
FEW = Point("lists-80", replace(WORLD, lists=100), SWEPT, MIXES[:1], 1, "lists", 80.0)
POINTS = (POINT, FLAT, FEW)


def make_logs(root: Path, point: Point) -> None:
    """Write a point's list file, and say that its step is done."""
    world = point.world
    config = SimulatorConfig(users=60, items=40, candidates=world.candidates, kappa=world.kappa, seed=world.seed)
    source = load(config, seed=2, lists=world.lists, length=world.length)
    path = data_file(root, point.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lists(path, source.records, source.metadata)
    mark(root / data_step(point.name))


def mark(folder: Path, **notes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(json.dumps({"seconds": 1.0, "resumed": False, "notes": notes}))


def fail(root: Path, step: str, reason: str) -> None:
    (root / step).mkdir(parents=True, exist_ok=True)
    record_failure(root, step, reason)


def save(root: Path, point: Point, name: str, lists: Ints, *, mix: int = 0, seed: int = 0, **notes: object) -> None:
    """Save a method's lists, and say that its step is done."""
    folder = root / method_step(point.name, name, mix, seed)
    mark(folder, **notes)
    np.save(folder / LISTS_FILE, lists)


def results_of(root: Path) -> Results:
    return Results(root, PROFILE, POINTS, METHODS)


def base_lists(cases: Sequence[SimulatedCase]) -> Ints:
    """The first candidates, in the order given."""
    return np.tile(np.arange(LENGTH), (len(cases), 1))


def best_lists(cases: Sequence[SimulatedCase], preferences: Preferences) -> Ints:
    """The greedy search of all candidates with true values."""
    return true_over_all(1, cases, preferences)


def better_lists(cases: Sequence[SimulatedCase], preferences: Preferences) -> Ints:
    """The base's list with its first half from the best: between the two."""
    base, best = base_lists(cases), best_lists(cases, preferences)
    half = [
        [*b[:2], *(i for i in a if i not in b[:2])][:LENGTH] for a, b in zip(base.tolist(), best.tolist(), strict=True)
    ]
    return np.array(half, np.int64)
