"""A few hundred lists of a small world, and value models trained on them for one epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.truth.bench import Bench
from models.evaluation.truth.method import Fit, FitContext
from models.evaluation.truth.profile import Profile, WorldSizes

LENGTH, CANDIDATES = 3, 8
PROFILE = Profile(
    name="tiny",
    world=WorldSizes(candidates=CANDIDATES, length=LENGTH, lists=300),
    requests=6,
    valid_requests=5,
    value_dim=8,
    value_layers=1,
    value_epochs=1,
    beam=2,
)


def tiny_bench(folder: Path, *, lists: int = 300) -> Bench:
    """Write a list file and hold it."""
    config = SimulatorConfig(users=60, items=40, candidates=CANDIDATES, kappa=2.0, seed=1)
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
    fit: Fit, bench: Bench, folder: Path, *, seed: int = 0, needs: Mapping[str, Path] | None = None
) -> Mapping[str, Any]:
    """Run a fit in its folder, and return its notes."""
    folder.mkdir(parents=True, exist_ok=True)
    return fit.run(FitContext(bench, PROFILE, folder, needs or {}, seed))
