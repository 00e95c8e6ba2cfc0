"""Fits and methods that cost nothing, and an experiment of them in a world of a few requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.contract.arrays import Ints
from models.data.records import ListRecord
from models.evaluation.steps import ExperimentStep
from models.evaluation.truth.method import Fit, FitContext, Method, PlanContext, Setting
from models.evaluation.truth.profile import Profile, WorldSizes
from models.evaluation.truth.steps import all_steps
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.training.value import CHECKPOINT_FILE
from tests.models.planners.examples import random_model

PROFILE = Profile(
    name="fakes",
    world=WorldSizes(candidates=6, length=3, lists=60),
    requests=4,
    valid_requests=3,
    seeds=2,
    value_dim=8,
    paper_dim=8,
    scorer_dim=8,
    generator_dim=8,
    tables={"methods": ("base", "ours", "rivals")},
    sweeps={"length": (2.0,)},
    sweep_methods=("by-seed",),
    small_length=0,
)


def note_down(context: FitContext) -> Mapping[str, Any]:
    """Train nothing, and write down what a fit would train with."""
    lines = [str(context.seed), str(context.profile.world.length), *sorted(context.needs)]
    (context.folder / "fitted.txt").write_text("\n".join(lines), "utf-8")
    return {"training_lists": len(context.bench.train)}


def judge(context: FitContext) -> Mapping[str, Any]:
    """Save a model with random weights as the judge."""
    config = ValueConfig(dim=8, layers=1, heads=2, list_length=context.bench.length, field_dim=4)
    units = {"click": 0.1, "conversion": 0.01, "gmv": 0.5}
    model = random_model(context.bench.spec, config, seed=0)
    save_checkpoint(context.folder / CHECKPOINT_FILE, Checkpoint(model, units))
    return {}


def fails(context: FitContext) -> Mapping[str, Any]:
    raise RuntimeError(f"nothing was learnt with seed {context.seed}")


def rotate(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Show the candidates in their order, turned by the seed of a needed fit, or by the setting."""
    turn = context.seed if setting is None else int(float(setting))
    for folder in context.needs.values():
        turn += int((folder / "fitted.txt").read_text("utf-8").split()[0])
    return np.tile((np.arange(context.bench.length) + turn) % 6, (len(records), 1))


def repeat(context: PlanContext, records: Sequence[ListRecord], setting: Setting) -> Ints:
    """Show the first candidate at every place, which is no list."""
    del setting
    return np.zeros((len(records), context.bench.length), np.int64)


def _size(profile: Profile) -> Mapping[str, Any]:
    return {"dim": profile.value_dim}


FITS = {
    fit.name: fit
    for fit in (
        Fit("model", note_down, _size),
        Fit("generator", note_down, needs=("model",)),
        Fit("shared", note_down, seeded=False),
        Fit("judge", judge, seeded=False),
        Fit("broken", fails),
    )
}
METHODS = {
    method.name: method
    for method in (
        Method("base", "base", "base", rotate, seeded=False),
        Method("by-seed", "by seed", "ours", rotate, ("generator",)),
        Method("shared", "shared", "rivals", rotate, ("shared",)),
        Method("chosen", "chosen", "rivals", rotate, settings=(0.0, 1.0, 2.0), seeded=False),
        Method("broken", "needs what fails", "rivals", rotate, ("broken",)),
        Method("no-list", "no list", "rivals", repeat, seeded=False),
    )
}


def fake_steps(root: Path, profile: Profile = PROFILE) -> list[ExperimentStep]:
    return all_steps(root, profile, FITS, METHODS)
