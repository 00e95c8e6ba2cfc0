"""A made-up run that most methods are done in."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.data.list_file import read_lists
from models.evaluation.truth.figures.results import Results
from models.evaluation.truth.paths import data_file, fit_step, method_step
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from tests.models.evaluation.truth.figures import runs
from tests.models.planners.examples import random_model
from tests.models.specs import fit_spec


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MMR copies the base; SORT-Gen lies between it and the beam; PRM failed; GReF was not run."""
    root = tmp_path_factory.mktemp("truth")
    for point in runs.POINTS:
        runs.make_logs(root, point)
    found = runs.results_of(root).by_point
    main = found["main"]
    cases, preferences = main.bench.cases, main.preferences()
    base, best, better = (
        runs.base_lists(cases),
        runs.best_lists(cases, preferences),
        runs.better_lists(cases, preferences),
    )
    for name, lists in {"base": base, "pointwise": base[:, ::-1], "true-beam": best}.items():
        runs.save(root, runs.POINT, name, lists)
    for seed in range(2):
        runs.save(root, runs.POINT, "mmr", base, seed=seed, setting=[0.5, 0.7][seed])
        for name, lists in {
            "sort-gen-paper": better[:, ::-1],
            "sort-gen": better,
            "sort-gen-beam": best,
            "without-mmr": base,
            "grid-sort-beam": better,
        }.items():
            runs.save(root, runs.POINT, name, lists, seed=seed)
    runs.save(root, runs.POINT, "heads-1", better, seed=0)
    runs.save(root, runs.POINT, "heads-1-beam", better, seed=0)
    runs.fail(root, method_step("main", "prm", 0, 0), "ValueError: the loss is not finite")
    runs.save(root, runs.POINT, "base", base, mix=1)
    runs.save(root, runs.POINT, "sort-gen-beam", runs.best_lists(cases, main.preferences(1)), mix=1)
    for point in runs.POINTS[1:]:
        here = found[point.name]
        own = runs.base_lists(here.bench.cases)
        runs.save(root, point, "base", own)
        runs.save(root, point, "pointwise", own[:, ::-1])
        ours = own if point.name == "kappa-0" else runs.best_lists(here.bench.cases, here.preferences())
        runs.save(root, point, "sort-gen-beam", ours)
    _save_model(root)
    return root


@pytest.fixture
def results(root: Path) -> Results:
    return runs.results_of(root)


def _save_model(root: Path) -> None:
    """Save an untrained value model as the fit that calibration and queues are read of."""
    spec = fit_spec(list(read_lists(data_file(root, "main"), "train")))
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=runs.LENGTH, field_dim=4)
    folder = root / fit_step("main", "sort", 0)
    folder.mkdir(parents=True)
    units = {"click": 0.05, "conversion": 0.01, "gmv": 0.5}
    save_checkpoint(folder / "checkpoint.pt", Checkpoint(random_model(spec, config, seed=0), units))
