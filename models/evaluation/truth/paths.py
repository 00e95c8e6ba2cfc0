"""Name the folders of an experiment's results, under its root."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DATA_FILE: Final = "lists.parquet"
"""The logs of a point, in its folder of data."""

CHOICE_FILE: Final = "choice.json"
"""Which setting was chosen, and what each was valued at, in the folder of a method that has several."""

LISTS_FILE: Final = "lists.npy"
"""int64 [n, m]: the lists of the test requests, in a method's folder."""


def data_step(point: str) -> str:
    """Name the step that makes a point's logs."""
    return f"{point}/data"


def data_file(root: Path, point: str) -> Path:
    """Locate a point's list file."""
    return root / data_step(point) / DATA_FILE


def fit_step(point: str, fit: str, seed: int) -> str:
    """Name the step that trains one fit with one seed."""
    return f"{point}/fits/{fit}/seed-{seed}"


def method_step(point: str, method: str, mix: int, seed: int) -> str:
    """Name the step that plans a method's lists under one objective mix, with one seed."""
    return f"{point}/methods/{method}/mix-{mix}/seed-{seed}"


def point_of(step: str) -> str:
    """Name the point that a step is of."""
    return step.split("/")[0]


def method_of(step: str) -> str:
    """Name the method whose lists a step makes."""
    return step.split("/")[2]
