"""A few hundred lists of a small world, and value models trained on them for one epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.contract.arrays import Ints
from models.contract.spec import OBJECTIVES
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import Fit, FitContext, PlanContext
from models.evaluation.truth.profile import Profile, WorldSizes
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Preferences
from models.training.value import CHECKPOINT_FILE
from tests.models.planners.examples import random_model

LENGTH, CANDIDATES = 3, 7
PROFILE = Profile(
    name="tiny",
    world=WorldSizes(candidates=CANDIDATES, length=LENGTH, lists=300),
    requests=12,
    valid_requests=8,
    value_dim=8,
    paper_dim=8,
    scorer_dim=8,
    generator_dim=8,
    value_layers=1,
    paper_layers=1,
    scorer_layers=1,
    generator_layers=1,
    value_epochs=1,
    paper_epochs=1,
    beam=2,
)


def tiny_bench(folder: Path, *, lists: int = 300) -> Bench:
    """Write a list file and hold it."""
    config = SimulatorConfig(users=60, items=50, candidates=CANDIDATES, kappa=2.0, seed=1)
    source = load(config, seed=2, lists=lists, length=LENGTH)
    write_lists(folder / "lists.parquet", source.records, source.metadata)
    return Bench(
        folder=folder,
        file=folder / "lists.parquet",
        length=LENGTH,
        requests=PROFILE.requests,
        valid_requests=PROFILE.valid_requests,
        device=torch.device("cpu"),
    )


def run_fit(
    fit: Fit,
    bench: Bench,
    folder: Path,
    *,
    seed: int = 0,
    needs: Mapping[str, Path] | None = None,
    profile: Profile | None = None,
) -> Mapping[str, Any]:
    """Run a fit in its folder, and return its notes."""
    folder.mkdir(parents=True, exist_ok=True)
    return fit.run(FitContext(bench, profile or PROFILE, folder, needs or {}, seed))


def plan_context(bench: Bench, needs: Mapping[str, Path], *, seed: int = 0, **wishes: Any) -> PlanContext:
    """What a method gets, at 5/1/1 in the units of the log."""
    preferences = Preferences(PROFILE.objectives, bench.units, **wishes)
    return PlanContext(bench, PROFILE, needs, preferences, seed)


def untrained(bench: Bench, fits: Iterable[Fit], root: Path) -> dict[str, Path]:
    """Write a checkpoint with random weights for each fit of a value model, and name their folders."""
    folders = {}
    for i, fit in enumerate(fits):
        folder = folders[fit.name] = root / fit.name
        folder.mkdir(parents=True)
        sizes = {part.name: fit.options(PROFILE)[part.name] for part in dataclasses.fields(ValueConfig)}
        model = random_model(bench.spec, ValueConfig(**sizes), seed=i)
        units = dict(zip(OBJECTIVES, bench.units, strict=True))
        save_checkpoint(folder / CHECKPOINT_FILE, Checkpoint(model, units))
    return folders


def check_lists(bench: Bench, lists: Ints, records: Sequence[ListRecord]) -> None:
    """Every list fills all places with different candidates of its request."""
    assert lists.shape == (len(records), bench.length)
    for row, record in zip(lists.tolist(), records, strict=True):
        assert len(set(row)) == bench.length
        assert all(0 <= item < len(record.candidates) for item in row)
