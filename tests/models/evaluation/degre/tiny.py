"""A few simulated lists, and the options of an experiment on them that takes seconds."""

from __future__ import annotations

from pathlib import Path

from models.data.list_writer import write_lists
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig

PROFILE = Path(__file__).with_name("tiny.toml")
TINY = ("--profile", str(PROFILE), "--threads", "1", "--device", "cpu")


def write_simulated(path: Path) -> Path:
    config = SimulatorConfig(users=30, items=40, candidates=6, kappa=1.0, seed=1)
    logs = load(config, seed=2, lists=80, length=3)
    write_lists(path, logs.records, logs.metadata)
    return path
