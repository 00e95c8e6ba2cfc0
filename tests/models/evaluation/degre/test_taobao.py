"""DeGRe's tables on Taobao Ad's format, from a made-up copy of its files, by the documented commands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from models import cli
from tests.models.datasets.test_taobao_ad import folder, impressions

ROOT = Path(__file__).parents[4]
PROFILE = Path(__file__).with_name("tiny.toml")


@pytest.mark.long
def test_its_files_become_lists_and_lists_become_rows(tmp_path: Path) -> None:
    path, lists, out = folder(tmp_path / "taobao", impressions()), tmp_path / "lists.parquet", tmp_path / "run"
    assert cli.main(["data", "taobao-ad", "--path", str(path), "-o", str(lists), "--quiet"]) == 0
    steps = ["--steps", "data,evaluator,search,report", "--threads", "1", "--device", "cpu"]
    sizes = ["--profile", str(PROFILE), "--set", "length=6"]
    assert cli.main(["evaluate", "degre", "--data", str(lists), "--out", str(out), *sizes, *steps]) == 0
    report = json.loads((out / "figures.json").read_text("utf-8"))
    rows = {row["title"]: row for row in report["hit_rates"]["primary"]["rows"]}
    assert rows["evaluator, beam 2 + local search"]["hit_rate"] is not None
    assert rows["sort by prior score"]["hit_rate"] is not None
    assert rows["GoalRank"]["hit_rate"] is None
    assert report["mixes"] == []


def test_one_command_makes_the_lists_and_all_tables() -> None:
    """What it would run is read, not run: it takes hours and files that are not here."""
    told = subprocess.run(
        ["make", "--dry-run", "degre-taobao", "DATA=ads"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "data taobao-ad --users 50000 --path 'ads' -o data/degre-taobao.parquet" in told
    assert "evaluate degre --data data/degre-taobao.parquet --out runs/degre-taobao --profile table" in told
    assert "--steps" not in told
