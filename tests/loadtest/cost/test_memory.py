"""Memory by kind of process: the largest of each, and most of all together, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.cost.memory import HEAD, OTHER, Look, Stage, kind_of, main
from loadtest.rig.server import ServerError
from tests.service.tiny_bundle import write_bundle


def test_a_process_is_told_by_its_command_line() -> None:
    assert kind_of(["python", "-P", "-m", "service.workers.worker", "21", "15"]) == "worker"
    assert kind_of(["python", "-P", "-m", "service.workers.engine", "25"]) == "engine process"
    assert kind_of(["python", "-m", "models.cli", "serve", "--workers", "2"]) == "supervisor"
    assert kind_of(["python", "-P", "-m", "service.ranking.trial", "{}"]) == OTHER


def test_a_stage_has_the_largest_of_each_kind_and_most_of_all_at_one_moment() -> None:
    before = Look({"supervisor": [60.0], "worker": [64.0, 66.0], "engine process": [90.0]})
    beside = Look({"supervisor": [61.0], "worker": [65.0, 65.0], "engine process": [80.0, 85.0]})
    found = Stage.of("reloads", [before, beside])
    assert (found.largest["worker"], found.largest["engine process"], found.largest[OTHER]) == (66.0, 90.0, 0.0)
    assert (found.engines, found.total) == (2, beside.total) == (2, 356.0)
    assert found.row() == ("reloads", "61", "66", "90", "–", "2", "356")
    assert len(found.row()) == len(HEAD)
    with pytest.raises(ServerError, match="at rest: no process was seen"):
        Stage.of("at rest", [])


@pytest.mark.long
def test_a_service_with_an_engine_process_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles, figures = tmp_path / "bundles", tmp_path / "figures.json"
    write_bundle(bundles)
    layout = "--workers 2 --engine-processes 1"
    options = ["--bundles", str(bundles), "--serve-options", layout, "--reloads", "1", "--in-flight", "0"]
    assert main([*options, "--candidates", "10", "--json", str(figures)]) == 0
    rest, reload, after = json.loads(figures.read_text())["stages"]
    assert [stage["name"] for stage in (rest, reload, after)] == ["at rest", "reloads", "at rest after them"]
    assert min(rest["largest"][kind] for kind in ("supervisor", "worker", "engine process")) > 10
    assert (rest["engines"], rest["largest"][OTHER]) == (1, 0)
    assert reload["engines"] == 2, "the next engine process starts beside the one that serves"
    assert reload["largest"][OTHER] > 10
    assert reload["total"] > rest["total"]
    assert "| at rest after them" in capsys.readouterr().out
