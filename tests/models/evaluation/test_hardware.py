"""Reports name the hardware that steps ran on, and not that of whoever writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.hardware import name_hardware, sum_up_hardware
from models.evaluation.steps import ExperimentStep, read_markers, run_steps

BIG, SMALL = {"hardware": "64 CPU cores"}, {"hardware": "2 CPU cores"}


@pytest.mark.parametrize(
    ("markers", "said"),
    [
        ([], "none: no step is done"),
        ([SMALL, SMALL], "2 CPU cores"),
        ([SMALL, BIG, BIG], "64 CPU cores (2 of 3 steps); 2 CPU cores (1 of 3 steps)"),
        ([{}], "hardware that was not recorded"),
        ([{}, BIG, BIG], "64 CPU cores (2 of 3 steps); hardware that was not recorded (1 of 3 steps)"),
    ],
)
def test_each_hardware_is_named_with_its_steps(markers: list[Mapping[str, Any]], said: str) -> None:
    assert sum_up_hardware(markers) == said


def test_a_step_records_where_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [ExperimentStep(name, "all", {}, lambda _: {}) for name in ("here", "a/there")]
    run_steps(tmp_path, steps[:1], lambda _: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 1234)
    run_steps(tmp_path, steps, lambda _: None)
    monkeypatch.undo()
    there, here = read_markers(tmp_path)
    assert here["hardware"] == name_hardware()
    assert there["hardware"].startswith("1234 CPU cores, ")
    assert " (1 of 2 steps); " in sum_up_hardware(read_markers(tmp_path))
