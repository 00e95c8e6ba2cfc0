"""A small world for the tests of methods: its bench, a judge that learnt nothing, and what plans get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import Fit, FitContext, PlanContext
from models.evaluation.truth.profile import Profile
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Preferences
from models.training.value import CHECKPOINT_FILE
from tests.models.planners.examples import random_model

LENGTH, CANDIDATES = 4, 9


def make_bench(folder: Path, *, lists: int = 1200) -> Bench:
    config = SimulatorConfig(users=300, items=80, candidates=CANDIDATES, kappa=1.0, seed=1)
    source = load(config, seed=2, lists=lists, length=LENGTH)
    file = folder / "lists.parquet"
    write_lists(file, source.records, source.metadata)
    return Bench(folder / "arrays", file, LENGTH, 30, 20, torch.device("cpu"))


def plan_context(bench: Bench, needs: Mapping[str, Path] | None = None) -> PlanContext:
    return PlanContext(bench, Profile(), needs or {}, Preferences((5.0, 1.0, 1.0), bench.units), 0)


def run_fit(bench: Bench, fit: Fit, folder: Path, seed: int = 0) -> tuple[Path, Mapping[str, object]]:
    own = folder / f"{fit.name}-{seed}"
    own.mkdir(parents=True)
    return own, fit.run(FitContext(bench, Profile(), own, {}, seed))


def make_judge(bench: Bench, folder: Path, seed: int = 0) -> Path:
    """An untrained value model to which neighbours matter."""
    model = random_model(bench.spec, ValueConfig(dim=16, layers=1, heads=2, list_length=LENGTH, field_dim=4), seed)
    units = dict(zip(("click", "conversion", "gmv"), bench.units, strict=True))
    save_checkpoint(folder / CHECKPOINT_FILE, Checkpoint(model, units))
    return folder
