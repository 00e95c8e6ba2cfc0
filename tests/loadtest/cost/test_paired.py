"""The paired comparison, small, over real services that differ in their environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtest.cost import paired
from loadtest.peers.comparison import GoodputRow, Results
from loadtest.rig.goodput import Trial
from loadtest.rig.openloop.build import why_unavailable
from loadtest.rig.server import from_source
from models.contract.manifest import Limits
from tests.loadtest.tables import squeezed
from tests.service.tiny_bundle import Options, write_bundle

ROOT = Path(__file__).parents[3]


def searched(**rates: Sequence[float]) -> Results:
    """The results of searches, block by block, by side."""
    trials = (Trial(1, 9, 5.0, 18.0, 1, 0, 0, 0, True),)
    sides = {name.replace("_", " "): found for name, found in rates.items()}
    rows = [GoodputRow(block, side, rate, trials) for side, found in sides.items() for block, rate in enumerate(found)]
    return Results(list(sides), goodput=rows)


def test_goodputs_are_compared_block_by_block() -> None:
    (row,) = paired.compare_rates(searched(a=[100, 200, 400], b=[250, 500, 1000], a_again=[100, 200, 400]))
    assert (row.concurrency, row.figure, row.a, row.b) == (None, paired.GOODPUT, 200, 500)
    assert (row.ratio.median, row.ratio.low, row.ratio.high) == (2.5, 2.5, 2.5)
    assert (row.control.median, row.control.pairs) == (1.0, 3)
    assert squeezed(paired.table([row])).splitlines()[-1].startswith("| – | goodput, requests/s | 200.000 | 500.000 |")


def test_a_side_without_a_goodput_is_named() -> None:
    with pytest.raises(ValueError, match="b: kept not even the lowest rate"):
        paired.compare_rates(searched(a=[100, 200], b=[0, 500], a_again=[100, 200]))
    assert paired.compare_rates(Results([])) == []


def test_a_side_may_run_from_another_source_tree(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "cli.py").write_text("print('of another version')")
    command = [sys.executable, "-m", "models.cli"]
    environment = {**os.environ, **from_source(tmp_path)}
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "of another version\n"


def test_a_folder_that_is_no_source_tree_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundles", Options())
    with pytest.raises(SystemExit, match="2"):
        paired.main(["--bundles", str(tmp_path / "bundles"), "--b-source", str(tmp_path)])
    assert "is no source tree of this service" in capsys.readouterr().err


@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.slow
def test_two_services_and_a_control_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundles", Options(limits=Limits(list_length=10, queues=3)))
    figures = tmp_path / "paired.json"
    short = ["--blocks", "2", "--seconds", "0.3", "--candidates", "20", "--concurrency", "1", "3"]
    sides = ["--a", "--log-level warning", "--b", "LISTWRIGHT_LOG_LEVEL=error"]
    sides += ["--b-form", "columns", "--b-source", str(ROOT), "--goodput-blocks", "1", "--goodput-seconds", "0.3"]
    sides += ["--guess", "60", "--resolution", "9", "--budget-ms", "5000"]
    where = ["--bundles", str(tmp_path / "bundles"), "--json", str(figures)]
    assert paired.main([*where, *sides, *short]) == 0
    written = json.loads(figures.read_text("utf-8"))
    assert (written["a_form"], written["b_form"], written["b_source"]) == ("objects", "columns", str(ROOT))
    (*rows, rate) = written["rows"]
    assert [(r["concurrency"], r["figure"]) for r in rows] == [(c, f) for c in (1, 3) for f in paired.FIGURES]
    assert (rate["concurrency"], rate["figure"]) == (None, paired.GOODPUT)
    for row in (*rows, rate):
        assert row["a"] > 0
        assert all(row[k]["low"] <= row[k]["median"] <= row[k]["high"] for k in ("ratio", "control"))
    assert "| 3 | p99 |" in squeezed(capsys.readouterr().out)


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_an_answer_that_no_model_made_ends_the_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path, Options(limits=Limits(list_length=10, queues=3)))
    short = ["--blocks", "1", "--seconds", "0.3", "--candidates", "20", "--concurrency", "1"]
    with pytest.raises(SystemExit, match="2"):
        paired.main(["--bundles", str(tmp_path), "--b", "LISTWRIGHT_BUDGET_MS=0.01", *short])
    assert "b: 100.0% of the answers had no full list" in capsys.readouterr().err


@pytest.mark.long
def test_a_side_that_does_not_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path, Options())
    with pytest.raises(SystemExit, match="2"):
        paired.main(["--bundles", str(tmp_path), "--b", "LISTWRIGHT_BUDGET_MS=never"])
    assert "LISTWRIGHT_BUDGET_MS" in capsys.readouterr().err
