"""The paired comparison, small, over real services that differ in their environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.cost import paired
from loadtest.rig.openloop.build import why_unavailable
from models.contract.manifest import Limits
from tests.loadtest.tables import squeezed
from tests.service.tiny_bundle import Options, write_bundle


@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.slow
def test_two_services_and_a_control_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundles", Options(limits=Limits(list_length=10, queues=3)))
    figures = tmp_path / "paired.json"
    short = ["--blocks", "2", "--seconds", "0.3", "--candidates", "20", "--concurrency", "1", "3"]
    sides = ["--a", "--log-level warning", "--b", "LISTWRIGHT_LOG_LEVEL=error"]
    where = ["--bundles", str(tmp_path / "bundles"), "--json", str(figures)]
    assert paired.main([*where, *sides, *short]) == 0
    rows = json.loads(figures.read_text("utf-8"))["rows"]
    assert [(r["concurrency"], r["figure"]) for r in rows] == [(c, f) for c in (1, 3) for f in paired.FIGURES]
    for row in rows:
        assert row["a"] > 0
        assert all(row[k]["low"] <= row[k]["median"] <= row[k]["high"] for k in ("ratio", "control"))
    assert "| 3 | p99 |" in squeezed(capsys.readouterr().out)


@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_an_answer_that_no_model_made_ends_the_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path, Options(limits=Limits(list_length=10, queues=3)))
    short = ["--blocks", "1", "--seconds", "0.3", "--candidates", "20", "--concurrency", "1"]
    with pytest.raises(SystemExit, match="2"):
        paired.main(["--bundles", str(tmp_path), "--b", "LISTWRIGHT_BUDGET_MS=0.01", *short])
    assert "b: 100.0% of the answers had no full list" in capsys.readouterr().err


def test_a_side_that_does_not_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path, Options())
    with pytest.raises(SystemExit, match="2"):
        paired.main(["--bundles", str(tmp_path), "--b", "LISTWRIGHT_BUDGET_MS=never"])
    assert "LISTWRIGHT_BUDGET_MS" in capsys.readouterr().err
