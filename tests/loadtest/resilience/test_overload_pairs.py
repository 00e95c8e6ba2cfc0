"""Two states under overload in turn: where each finds its modules, and how their figures are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.resilience import overload_pairs
from loadtest.resilience.overload import Figures, Parts, Recovery, RefusalCost
from loadtest.rig.server import CpuSplit
from loadtest.rig.subject import Subject
from tests.loadtest.tables import squeezed

ROOT = Path(__file__).parents[3]
SUBJECT = Subject(Path("b"), Path("b/1"), (), ("--pages", "off"), CpuSplit((0,), (1,)))
FOUND = Figures(
    parts=Parts(goodput=100, seconds=10),
    requests=3000,
    lists=1500,
    full=1000,
    refused=1500,
    degraded={"deadline/formula": 30},
    faults={},
    p50_ms=10.0,
    p99_ms=20.0,
    late_ms=0.1,
    unsent=0,
    refusal=RefusalCost(math.nan, 0, 200),
    recovery=Recovery(9.0, 0.5, 9.0),
)


def test_the_older_side_has_its_modules_and_options_and_the_other_has_neither() -> None:
    found = overload_pairs.sides(SUBJECT, ROOT, "--queue-interval-ms 100")
    assert found["after"] == SUBJECT
    older = found["before"]
    assert older.environment == {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    assert older.options == ("--pages", "off", "--queue-interval-ms", "100")


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no checkout"):
        overload_pairs.sides(SUBJECT, tmp_path, "")


def test_figures_are_compared_pair_by_pair() -> None:
    slow = replace(FOUND, p99_ms=40.0, full=500)
    lines = squeezed(overload_pairs.compare([(slow, FOUND), (FOUND, FOUND), (slow, FOUND)])).splitlines()
    rows: Mapping[str, Any] = {line.split("|")[1].strip(): line for line in lines}
    assert "| 40.000 | 20.000 | 0.500 (0.500 to 1.000) |" in rows["p99 ms"]
    assert "| 50.000 | 100.000 | 2.000 (1.000 to 2.000) |" in rows["full lists/s"]
    assert "| 3.000 | 3.000 | 1.000" in rows["degraded/s"]


def test_a_figure_that_is_not_there_on_one_side_has_no_ratio() -> None:
    lost = replace(FOUND, p99_ms=math.inf, degraded={})
    rows = squeezed(overload_pairs.compare([(lost, FOUND)])).splitlines()
    assert any("p99 ms" in row and row.endswith("| - |") for row in rows)
    assert any("degraded/s" in row and row.endswith("| - |") for row in rows)
