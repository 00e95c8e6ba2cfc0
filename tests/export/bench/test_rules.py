"""What rules cost is measured for both families. The figures are the machine's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.bench.rules import main
from tests.loadtest.tables import squeezed


@pytest.mark.long
def test_plain_and_ruled_are_timed_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "rules.json"
    sizes = ["--dim", "8", "--layers", "1", "--evaluator-layers", "1", "--blocks", "2", "--runs", "1"]
    assert main([*sizes, "--json", str(figures)]) == 0
    rows = json.loads(figures.read_text())["rows"]
    assert [row["name"] for row in rows] == ["SORT-Gen, h=1", "SORT-Gen, h=2, W=4", "DeGRe, 100 candidates"]
    assert all(row["plain_ms"] > 0 and row["ruled_ms"] > 0 for row in rows)
    assert all(0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows)
    assert all(f"| {row['name']} |" in squeezed(capsys.readouterr().out) for row in rows[:1])
