"""A small simulated log, an untrained model of it, and every planner's lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.simulated.command import read_cases
from models.evaluation.simulated.comparison import Planner, SimulatedCase, known_rows, learnt_rows, list_count
from models.nets.checkpoint import Checkpoint
from models.nets.value import ValueConfig
from tests.models.evaluation.simulated.world import CANDIDATES, LENGTH, SEARCHES, UNITS, WISH
from tests.models.planners.examples import random_model
from tests.models.specs import fit_spec


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SimulatorConfig(users=40, items=30, candidates=CANDIDATES, kappa=2.0, seed=1)
    source = load(config, seed=2, lists=120, length=4)
    path = tmp_path_factory.mktemp("simulated") / "lists.parquet"
    write_lists(path, source.records, source.metadata)
    return path


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> Checkpoint:
    """An untrained value model: what is held here does not depend on what it learnt."""
    spec = fit_spec(list(read_lists(data, "train")))
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=4, field_dim=4)
    return Checkpoint(random_model(spec, config, seed=0), UNITS)


@pytest.fixture(scope="module")
def cases(data: Path) -> list[SimulatedCase]:
    return read_cases(data, LENGTH, 8)


@pytest.fixture(scope="module")
def rows(checkpoint: Checkpoint, cases: list[SimulatedCase]) -> dict[str, Planner]:
    count = list_count(cases)
    return known_rows(checkpoint, SEARCHES, None, count) | learnt_rows(checkpoint, LENGTH, SEARCHES, count)


@pytest.fixture(scope="module")
def lists(cases: list[SimulatedCase], rows: dict[str, Planner]) -> dict[str, list[list[int]]]:
    return {name: plan(cases, WISH).tolist() for name, plan in rows.items()}
